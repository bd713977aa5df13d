"""Self-describing weight files: safetensors, loaded without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lddm import version
from lddm.errors import LddmError
from lddm.files import atomic_path
from lddm.training.parallel import is_first, wait

Network = TypeVar("Network", bound=nn.Module)


def save_weights(path: str | Path, weights: nn.Module | Mapping[str, Tensor], kind: str, **about: Any) -> None:
    """Write weights with a description. With several processes, the first writes and the others wait for it.

    Args:
        path: a .safetensors file, replaced atomically.
        weights: a module or a state dict.
        kind: kind of weights, e.g. "autoencoder"; `load_weights` checks it.
        **about: JSON values, e.g. settings, sizes, provenance.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    # One entry only: safetensors writes several in an order that changes from run to run, but equal weights should give
    # equal files.
    metadata = {"lddm": json.dumps({"kind": kind, "version": version.__version__, "about": about})}
    if is_first():
        with atomic_path(path) as temporary:
            save_file(state, temporary, metadata=metadata)
    wait()


def _maker(kind: str) -> str:
    """Hint on how to regenerate a file of this kind."""
    rule = {"latents": "encode", "motion": "measure_motion"}.get(kind, f"train_{kind.split(':')[0]}")
    return f"run the rule {rule} again"


def load_weights(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and their description.

    Returns:
        The state dict (on the CPU) and the `about` values of `save_weights`.

    Raises:
        LddmError: a missing or damaged file, or weights of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise LddmError(f"{path} does not exist", f"{_maker(kind)}, or check the path")
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["lddm"])
            state = {name: file.get_tensor(name) for name in file.keys()}
        found, about = described["kind"], described["about"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise LddmError(
            f"{path} is not a weight file of LDDM: {error}",
            f"{_maker(kind)}: the file is damaged, or of another program",
        ) from error
    if found != kind:
        raise LddmError(f"{path}: expected weights of kind '{kind}', got '{found}'", "check the path of the file")
    return state, about


class SavedModule(nn.Module):
    """A network whose weight file describes how to build it, so that nothing else is needed to load it.

    Subclasses set `kind` and implement `arguments`.
    """

    kind: ClassVar[str]  # kind of weights stated in the file, e.g. "autoencoder"

    def arguments(self) -> dict[str, Any]:
        """The constructor arguments as JSON values."""
        raise NotImplementedError

    @classmethod
    def from_arguments(cls, about: Mapping[str, Any], path: str | Path) -> Self:
        """Inverse of `arguments`: a network without trained weights. `path` is for messages."""
        return cls(**about)

    def save(self, path: str | Path, **provenance: Any) -> None:
        """Write the weights and the constructor arguments."""
        save_weights(path, self, self.kind, **self.arguments(), provenance=provenance)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a network written by `save`: in eval mode, without gradients, on the CPU.

        Raises:
            LddmError: see `load_weights`; or the file was written by another version.
        """
        state, about = load_weights(path, cls.kind)
        return load_into(cls.from_arguments({k: v for k, v in about.items() if k != "provenance"}, path), state, path)


def read_settings(section: type[Any], about: Mapping[str, Any], path: str | Path) -> Any:
    """Read the settings in the description of weights.

    Raises:
        LddmError: they were written by another version.
    """
    try:
        return section.model_validate(about["settings"])
    except ValueError as error:  # (pydantic's, too)
        raise LddmError(
            f"{path} has settings that this version does not accept: {error}",
            "it was made by another version; train again",
        ) from error


def load_into(module: Network, state: Mapping[str, Tensor], path: str | Path) -> Network:
    """Load a state dict strictly; raises LddmError, naming the file, if it does not match."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise LddmError(
            f"{path} does not match the network: {error}", "it was made by another version; train again"
        ) from error
    return module.eval().requires_grad_(False)


def count_parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def cpu_state(module: nn.Module) -> dict[str, Tensor]:
    """A detached copy of the state dict on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()}
