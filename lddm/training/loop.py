"""The training loop.

The data and the noise of a step are pure functions of (seed, step). On one machine and with one thread count, a run that was
killed and resumed therefore ends with the same weights as an uninterrupted one, and no random state is saved. Likewise, two
processes compute the same step as one process with twice the accumulation (except for discriminators, whose spectral norms do a
power iteration in each forward pass).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lddm.errors import LddmError
from lddm.settings.models import Training
from lddm.training.averages import average_of
from lddm.training.feed import feed
from lddm.training.identity import Identity, content_hash
from lddm.training.parallel import connect, from_first, is_first, pick_device, share_weights
from lddm.training.progress import Progress
from lddm.training.recorded import GraphedStep, capturable
from lddm.training.state import State, load_state, save_state
from lddm.training.step import Step, Task, micro_batches
from lddm.training.update import DeviceUpdate, HostUpdate, optimizer_of
from lddm.training.weights import cpu_state

logger = logging.getLogger(__name__)


def _decides_on_device(device: torch.device) -> bool:
    """Whether training does not synchronise with the device between log lines; unnecessary on a CPU."""
    return device.type != "cpu"


def train(
    task: Task,
    training: Training,
    seed: int,
    state_dir: str | Path,
    on_log: Callable[[int, dict[str, float]], None],
    validate: Callable[[dict[str, Any]], dict[str, float]] | None = None,
    keep_best: str | None = None,
    device: torch.device | None = None,
    identity: Identity | None = None,
    learning_rates: Mapping[str, float] | None = None,
) -> dict[str, nn.Module]:
    """Train the networks for `training.steps` steps, resuming from `state_dir` if it has a state of the same run.

    If the loss or a gradient of any network is not finite, the step is counted as skipped and no network is updated.

    Args:
        task: networks, data and losses; its networks are moved to the device and trained in place.
        training: budget and optimiser.
        seed: seed of all random numbers.
        state_dir: folder of the resumable state. Call `remove_state` when the output has been written.
        on_log: called with (step, mean values since the last line).
        validate: called with the networks with averaged weights, in eval mode.
        keep_best: name of the validation value whose minimum selects the weights; None keeps the last.
        device: training device; default: the first GPU, else the CPU.
        identity: identity of the run; a state with another identity is not resumed. Default: the settings, the seed and the
            initial weights, but not data and losses.
        learning_rates: peak learning rates, by name, of networks that do not use `training.learning_rate`.

    Returns:
        The networks with the averaged (or selected) weights, in eval mode, on the device.

    Raises:
        LddmError: too many consecutive steps, or all validation values, are not finite. The last state stays in
            `state_dir`.
    """
    device = device or pick_device()
    connect(device)
    networks = task.networks
    identity = identity or Identity({"run": _identity(training, seed, networks)})
    identity = from_first(identity.extended(networks={name: _shapes(network) for name, network in networks.items()}))
    for network in networks.values():
        network.to(device).train()
    share_weights(*networks.values())
    optimizers = {name: optimizer_of(network, training) for name, network in networks.items()}
    peaks = {name: (learning_rates or {}).get(name, training.learning_rate) for name in networks}
    averages = {name: average_of(network, training.ema_decay) for name, network in networks.items()}
    start, progress, best = _restore(Path(state_dir), identity, networks, averages, optimizers)
    if start:
        logger.info("resumed at step %d of %d", start, training.steps)
    if training.compile:
        for network in networks.values():
            network.compile()
    on_device = _decides_on_device(device)
    update: HostUpdate = (DeviceUpdate if on_device else HostUpdate)(
        networks, optimizers, averages, training, progress, peaks
    )
    parts, mine = micro_batches(training)
    numbers = (step * parts + part for step in range(start, training.steps) for part in mine)
    began = time.monotonic()
    with feed(task, numbers) as batch:
        one_step = (GraphedStep if on_device and capturable(task) else Step)(
            task, training, seed, device, update, batch
        )
        for step in range(start, training.steps):
            one_step(step)
            done = step + 1
            ends = done == training.steps
            validates = validate is not None and (done % training.val_every == 0 or ends)
            logs, saves = (done % every == 0 for every in (training.log_every, training.checkpoint_every))
            if validates or logs or saves or ends:
                update.read()
            if validate is not None and validates:
                found = from_first(validate(_averaged(averages)))
                update.add({f"val/{key}": value for key, value in found.items()})
                if keep_best is not None and found[keep_best] < progress.best_value:
                    progress.best_value, progress.best_step = found[keep_best], done
                    best = {name: cpu_state(average.module) for name, average in averages.items()}
            if logs or ends:
                rate = (done - start) / max(1e-9, time.monotonic() - began)
                line = update.flush() | {"steps_per_second": rate} | progress.to_log()
                numbers_said = " ".join(f"{k} {v:.4g}" for k, v in line.items())
                left = (training.steps - done) / rate
                logger.info(
                    "step %d/%d, %d:%02d left, %s", done, training.steps, *divmod(round(left), 60), numbers_said
                )
                on_log(done, line)
            if saves and not ends:
                share_weights(*networks.values(), *averages.values())  # buffers depend on the data of each process
                if is_first():
                    groups = _groups(networks, averages, optimizers, best)
                    save_state(Path(state_dir), identity, done, progress.to_dict(), groups)
    if keep_best is not None and validate is not None and not best:
        raise LddmError(
            f"validation '{keep_best}' was never finite",
            "check the losses in the log; lower training.learning_rate, or set training.precision: 'no'",
        )
    if best:
        logger.info("kept the weights of step %d: val %s %.4g", progress.best_step, keep_best, progress.best_value)
        for name, state in best.items():
            averages[name].module.load_state_dict(state)
    for name, network in networks.items():
        network.load_state_dict(averages[name].module.state_dict())
        network.eval()
    share_weights(*networks.values())
    return networks


def _averaged(averages: dict[str, AveragedModel]) -> dict[str, nn.Module]:
    return {name: average.module.eval() for name, average in averages.items()}


def _identity(training: Training, seed: int, networks: dict[str, nn.Module]) -> str:
    """Hash of the settings, the seed and the initial weights, which are known to the loop itself."""
    return content_hash({"training": training, "seed": seed, "networks": networks})


def _shapes(network: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def _groups(networks, averages, optimizers, best) -> dict[str, dict[str, Tensor]]:
    groups = {}
    for name in networks:
        groups[f"weights:{name}"] = networks[name].state_dict()
        groups[f"average:{name}"] = averages[name].state_dict()
        groups[f"optimizer:{name}"] = optimizers[name].tensors()
        if best:
            groups[f"best:{name}"] = best[name]
    return groups


def _restore(folder: Path, identity: Identity, networks, averages, optimizers) -> tuple[int, Progress, dict]:
    """Restore steps done, progress and best weights. The first process decides whether there is a state to resume."""
    saved: State | None = load_state(folder, identity) if is_first() else None
    step = from_first(saved[0] if saved else 0)
    if not step:
        return 0, Progress(), {}
    saved = saved or load_state(folder, identity)
    if saved is None or saved[0] != step:
        raise LddmError(f"{folder} differs between processes", "put the results on a shared file system")
    _, about, groups = saved
    for name in networks:
        networks[name].load_state_dict(groups[f"weights:{name}"])
        averages[name].load_state_dict(groups[f"average:{name}"])
        optimizers[name].restore(groups.get(f"optimizer:{name}", {}))
    return step, Progress(**about), {name: groups[f"best:{name}"] for name in networks if f"best:{name}" in groups}
