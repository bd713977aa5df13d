"""The resumable state of a training run: one safetensors file, replaced atomically."""

from __future__ import annotations

import contextlib
import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lddm.files import atomic_path
from lddm.training.identity import Identity
from lddm.training.parallel import is_first, wait

logger = logging.getLogger(__name__)
NAME = "state.safetensors"

State = tuple[int, dict, dict[str, dict[str, Tensor]]]


def save_state(
    folder: Path, identity: Identity, step: int, about: dict, groups: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write `groups` of named tensors (weights, averages, optimisers, best) to one file.

    Args:
        folder: the state folder of the run.
        identity: identity of the run; only a run with the same identity resumes from the state.
        step: optimiser steps done.
        about: JSON values to restore, e.g. the best validation value.
        groups: group name -> tensor name -> tensor.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    metadata = {"identity": json.dumps(dict(identity.parts)), "step": str(step), "about": json.dumps(about)}
    metadata["checksum"] = _checksum(tensors)
    with atomic_path(folder / NAME) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_state(folder: Path, identity: Identity) -> State | None:
    """Load the saved state.

    Returns:
        Steps done, the JSON values and the groups of `save_state`. None if there is no state, or, with a warning, if the file
        is damaged or belongs to another run; training then restarts.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            differing = identity.differing(json.loads(metadata["identity"]))
            if differing:
                logger.warning(
                    "%s belongs to another training (different: %s). Training starts from the beginning.",
                    path,
                    ", ".join(differing),
                )
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            if _checksum(tensors) != metadata["checksum"]:
                raise ValueError("checksum")
            groups: dict[str, dict[str, Tensor]] = {}
            for key, tensor in tensors.items():
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = tensor
            return int(metadata["step"]), json.loads(metadata["about"]), groups
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s is damaged (%s). Training starts from the beginning.", path, type(error).__name__)
        return None


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of names and bytes: safetensors detects a truncated file, but not changed bytes."""
    checksum = 0
    for name in sorted(tensors):
        checksum = zlib.crc32(name.encode(), checksum)
        checksum = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"


def remove_state(folder: Path, *parts: str) -> None:
    """Remove the state of a finished run, and its folder if it is then empty.

    Call this after the output has been written: a run killed in between resumes from the state and writes the same output
    again. With several processes, the first removes the state.

    Args:
        folder: the state folder of the run.
        *parts: subfolders with states of parts of the run, e.g. "student".
    """
    wait()  # until no process reads the state any more
    if not is_first():
        return
    for place in (*(folder / part for part in parts), folder):
        for path in (
            place / NAME,
            *place.glob(f".{Path(NAME).stem}.*{Path(NAME).suffix}"),
        ):  # and temporary files left by a kill
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # absent, or not empty
            place.rmdir()
