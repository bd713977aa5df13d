"""The identity of a training: SHA-256 hashes of everything that determines its result.

A resumable state is used only by a training with the same identity. The hashes are computed from bytes on the CPU, never from
sums or other floating-point results, so that they do not depend on thread count, GPU or process.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lddm import version
from lddm.data.frames import FrameStore
from lddm.settings.base import Section

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(version.__file__).parent


@dataclass(frozen=True)
class Identity:
    """Identity of a training.

    Attributes:
        parts: hexadecimal SHA-256 by name: settings, seed, data and code for the trainers of this package.
    """

    parts: Mapping[str, str]

    @classmethod
    def of(
        cls, settings: Section, seed: int, data: Mapping[str, Any], packages: Sequence[str], **role: Any
    ) -> Identity:
        """Identity of a training of this package.

        Args:
            settings: the whole section of the stage, not only its `training`.
            seed: seed of all random numbers.
            data: input data and labels by name; values as in `content_hash`.
            packages: packages of lddm with the training code, e.g. ("autoencoder", "nn", "training", "data"); the settings
                package is always included.
            **role: values that distinguish trainings of the same section, e.g. the classifier and its regime.
        """
        described = {"section": type(settings).__name__, **settings.model_dump(mode="json"), "role": role}
        parts = {"settings": described, "seed": seed, "data": data}
        return cls(
            {name: content_hash(value) for name, value in parts.items()} | {"code": code_hash("settings", *packages)}
        )

    def extended(self, **parts: Any) -> Identity:
        """A copy with further parts; values as in `content_hash`."""
        return Identity({**self.parts, **{name: content_hash(value) for name, value in parts.items()}})

    def differing(self, saved: Mapping[str, str]) -> list[str]:
        """Names of the parts that differ from a saved identity, in a fixed order."""
        return [name for name in {**self.parts, **saved} if self.parts.get(name) != saved.get(name)]

    @property
    def digest(self) -> str:
        """One hash of all parts."""
        return content_hash(dict(self.parts))


def code_hash(*packages: str) -> str:
    """Hash of the version and of the source files (paths and bytes) of packages or modules of lddm.

    Raises:
        ValueError: a package has no source files.
    """
    digest = hashlib.sha256(version.__version__.encode())
    for package in sorted(set(packages)):
        module = PACKAGE / f"{package}.py"
        files = [module] if module.is_file() else sorted((PACKAGE / package).rglob("*.py"))
        if not files:
            raise ValueError(f"lddm.{package} has no source files")
        for path in files:
            _add(digest, path.relative_to(PACKAGE).as_posix())
            _add(digest, path.read_bytes())
    return digest.hexdigest()


@functools.cache
def library_versions(*names: str) -> str:
    """Versions of libraries whose code affects measurements, as text; names of packages, or cv2."""
    found = {}
    for name in names:
        try:
            found[name] = import_module(name).__version__ if name == "cv2" else metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return json.dumps(found)


def clips_content(store: FrameStore, clips: pd.DataFrame, chunk: int = 64) -> dict[str, Any]:
    """Content of clips for `Identity.of`: names, patients, labels and frames.

    The frames themselves are hashed, because the tables do not record which version of the code decoded the files.

    Args:
        clips: rows of `fold_clips`, in the order in which the training reads them.
        chunk: number of clips in memory at a time.
    """
    digest = hashlib.sha256()
    for start in range(0, len(clips), chunk):
        digest.update(np.ascontiguousarray(store.clip_frames(clips.iloc[start : start + chunk])).data)
    columns = [name for name in ("clip_id", "id", "patient_id", "label", "labelled") if name in clips]
    return {"meta": store.meta, "clips": clips[columns], "frames": digest.hexdigest()}


def content_hash(value: Any) -> str:
    """Hash of the content of a tensor, array, table, module (its weights), section, dataclass, container or scalar."""
    digest = hashlib.sha256()
    _update(digest, value)
    return digest.hexdigest()


def _update(digest: Any, value: Any) -> None:
    """Add a value with its type and shape, so that values with the same text representation are distinguished."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        value = value.view(torch.int16).numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        _add(digest, f"array {value.dtype.str} {value.shape}")
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    elif _is_table(value):
        _add(digest, f"table {len(value)}")
        for name in value.columns:
            _update(digest, [str(name), value[name].astype(object).where(value[name].notna(), None).tolist()])
    elif isinstance(value, nn.Module):
        _update(digest, dict(value.state_dict()))
    elif isinstance(value, Section):
        _update(digest, value.model_dump(mode="json"))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _update(digest, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        _add(digest, f"mapping {len(value)}")
        for name in sorted(value, key=str):
            _update(digest, str(name))
            _update(digest, value[name])
    elif isinstance(value, list | tuple | np.ndarray):
        _add(digest, f"list {len(value)}")
        for item in value:
            _update(digest, item)
    elif value is None or isinstance(value, str | int | float | bool | np.generic):
        value = value.item() if isinstance(value, np.generic) else value
        _add(digest, f"{type(value).__name__} {json.dumps(value, default=str)}")
    else:
        raise TypeError(f"cannot hash a {type(value).__name__}")


def _add(digest: Any, item: str | bytes) -> None:
    data = item.encode() if isinstance(item, str) else item
    digest.update(str(len(data)).encode() + b":" + data)


def _is_table(value: Any) -> bool:
    import pandas as pd  # lazy import, because `lddm animate` imports this file but hashes nothing

    return isinstance(value, pd.DataFrame)
