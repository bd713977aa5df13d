"""The resumable state of a training run: one safetensors file, replaced atomically."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lddm.files import atomic_path

logger = logging.getLogger(__name__)
NAME = "state.safetensors"


def save_state(folder: Path, identity: str, step: int, about: dict, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write `groups` of named tensors (weights, averages, optimisers, best) under one name.

    Args:
        folder: the run's state folder.
        identity: what the run is (settings and seed); only a run of the same identity resumes from it.
        step: optimiser steps done.
        about: JSON values to restore, e.g. the best validation value.
        groups: group name -> tensor name -> tensor.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    metadata = {"identity": identity, "step": str(step), "about": json.dumps(about)}
    with atomic_path(folder / NAME) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_state(folder: Path, identity: str) -> tuple[int, dict, dict[str, dict[str, Tensor]]] | None:
    """The saved state, or None where there is none that fits.

    A damaged file or one of another identity counts as none, with a word in the log: training then begins anew, which is
    slow but right.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            if metadata["identity"] != identity:
                logger.warning("%s is the state of other settings or data: training begins anew", path)
                return None
            groups: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
            return int(metadata["step"]), json.loads(metadata["about"]), groups
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s is damaged (%s): training begins anew", path, type(error).__name__)
        return None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments as named tensors: `<index of the parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, entry in state.items() for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
