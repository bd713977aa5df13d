"""Update after the backward pass: gradient clipping, check for finite values, AdamW, EMA, and means for the log.

Two implementations with the same results: `HostUpdate` reads values from the device in each step (free on a CPU);
`DeviceUpdate` reads nothing until `read` is called, because each read waits for all queued work of a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lddm.settings.models import Training
from lddm.training.adamw import AdamW
from lddm.training.averages import update_where
from lddm.training.parallel import average_gradients
from lddm.training.progress import Progress
from lddm.training.schedule import learning_rate

Losses = dict[str, Tensor]


def optimizer_of(network: nn.Module, training: Training) -> AdamW:
    """AdamW with the settings of a training, fused into one kernel."""
    return AdamW(
        network.parameters(),
        lr=training.learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        weight_decay=training.weight_decay,
    )


class HostUpdate:
    """Decide on the host whether to apply a step.

    Args:
        networks, optimizers, averages: by name.
        training: budget and optimiser.
        progress: counter of skipped steps.
        peaks: peak learning rate by network.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        optimizers: Mapping[str, AdamW],
        averages: Mapping[str, AveragedModel],
        training: Training,
        progress: Progress,
        peaks: Mapping[str, float],
    ):
        self.networks, self.optimizers, self.averages = networks, optimizers, averages
        self.training, self.progress, self.peaks = training, progress, peaks
        self.buffers = [buffer for network in networks.values() for buffer in network.buffers()]
        self._before: list[Tensor] = []
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def begin(self) -> None:
        """Save the buffers, which a forward pass may change (e.g. batch normalisation)."""
        self._before = [buffer.clone() for buffer in self.buffers]

    def finish(self, step: int, losses: Losses, logged: list[dict[str, Any]]) -> None:
        """Update all networks that have a loss, or none if a loss or gradient is not finite.

        Args:
            step: number of the step, from 0.
            losses: losses by network; the gradients are in the weights.
            logged: values for the log.

        Raises:
            LddmError: too many consecutive steps were not finite.
        """
        losses, norms = self._clip(losses)
        # One read from the device per step, for all networks. All processes have the same values and thus make the same decision.
        values = torch.stack([value.float() for value in (*losses.values(), *norms.values())]) if losses else None
        if values is not None and not torch.isfinite(values).all():
            for buffer, value in zip(self.buffers, self._before, strict=True):
                buffer.copy_(value)
            self.progress.skip(step, self.training.steps, losses, norms)
            return
        self.progress.in_a_row = 0
        for logs in logged:
            self.add(logs)
        for name, loss in losses.items():
            for group in self.optimizers[name].param_groups:
                group["lr"] = learning_rate(self.training, step, self.peaks[name])
            self.add({f"{name}/loss": loss, f"{name}/grad_norm": norms[name]})
            self.optimizers[name].step()
            self.averages[name].update_parameters(self.networks[name])

    def _clip(self, losses: Losses) -> tuple[Losses, Losses]:
        """Clip the gradients; returns mean losses over processes, and gradient norms before clipping."""
        means, norms = {}, {}
        for name, loss in losses.items():
            means[name] = average_gradients(self.networks[name], loss)
            norms[name] = nn.utils.clip_grad_norm_(
                self.networks[name].parameters(), self.training.grad_clip or math.inf
            )
        return means, norms

    def add(self, values: Mapping[str, Any]) -> None:
        """Add values to the means of the log."""
        for name, value in values.items():
            # Tensors stay on the device until the flush, because reading them would stall every step.
            value = value.detach() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> None:
        """Update `progress`. Call this before using `progress`."""

    def flush(self) -> dict[str, float]:
        """Mean values since the last flush."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class DeviceUpdate(HostUpdate):
    """Decide on the device whether to apply a step.

    AdamW skips a step if `found_inf` is one (the protocol of torch.amp.GradScaler); EMA, buffers and means are updated by
    selection. `read` fetches the number of skipped steps; too many in a row end the run there. Arguments as in `HostUpdate`.
    """

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.device = device = next(p.device for network in self.networks.values() for p in network.parameters())
        for name, optimizer in self.optimizers.items():
            # A CUDA graph reads the learning rate from the device, as float32.
            kind = torch.float64 if device.type == "cpu" else torch.float32
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(self.training.learning_rate, dtype=kind, device=device)
            self.averages[name].n_averaged = self.averages[name].n_averaged.to(device)
        # skipped since the last read, current consecutive count, largest consecutive count since the last read
        self._skips = torch.tensor([0, self.progress.in_a_row, self.progress.in_a_row], device=device)
        # Names of networks -> number of the last step that was not finite, and its values.
        self._last: dict[tuple[str, ...], Tensor] = {}
        # Names of values -> their sums, and how often they were added.
        self._means: dict[tuple[str, ...], Tensor] = {}
        self._number = torch.zeros((), dtype=torch.float64, device=device)

    def begin(self) -> None:
        """As `HostUpdate.begin`, but always into the same memory."""
        if not self._before:
            super().begin()
        elif self.buffers:
            torch._foreach_copy_(self._before, self.buffers)

    def set_step(self, step: int) -> None:
        """Set step number and learning rate on the device; passed as kernel arguments, so without synchronisation."""
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"].fill_(learning_rate(self.training, step, self.peaks[name]))
        self._number.fill_(step + 1)

    def finish(self, step: int, losses: Losses, logged: list[dict[str, Any]]) -> None:
        """As `HostUpdate.finish`, but errors are raised by `read`."""
        self.set_step(step)
        self.select(losses, logged)

    @torch.no_grad()
    def select(self, losses: Losses, logged: list[dict[str, Any]]) -> None:
        """The part of `finish` that runs only on the device, so that a CUDA graph can capture it."""
        losses, norms = self._clip(losses)
        if not losses:
            for logs in logged:
                self._add_where(logs, torch.ones((), dtype=torch.bool, device=self.device))
            return
        values = torch.stack([value.float() for value in (*losses.values(), *norms.values())])
        finite = torch.isfinite(values).all()
        for buffer, value in zip(self.buffers, self._before, strict=True):
            buffer.copy_(torch.where(finite, buffer, value))
        self._count(tuple(losses), values, finite)
        for logs in logged:
            self._add_where(logs, finite)
        for name, loss in losses.items():
            self._add_where({f"{name}/loss": loss, f"{name}/grad_norm": norms[name]}, finite)
            optimizer = self.optimizers[name]
            optimizer.found_inf = (~finite).float()
            optimizer.step()
            update_where(self.averages[name], self.networks[name], self.training.ema_decay, finite)

    def _count(self, names: tuple[str, ...], values: Tensor, finite: Tensor) -> None:
        bad = (~finite).long()
        row = (self._skips[1] + 1) * bad
        self._skips.copy_(torch.stack([self._skips[0] + bad, row, torch.maximum(self._skips[2], row)]))
        if names not in self._last:
            self._last[names] = torch.zeros(1 + len(values), dtype=torch.float64, device=self.device)
        seen = torch.cat([self._number[None], values.double()])
        self._last[names].copy_(torch.where(finite, self._last[names], seen))

    def _add_where(self, values: Mapping[str, Any], finite: Tensor) -> None:
        names = tuple(values)
        if not names:
            return
        numbers = [
            value.detach().float() if isinstance(value, Tensor) else torch.full((), value, device=self.device)
            for value in values.values()
        ]
        new = torch.stack([*numbers, torch.ones((), device=self.device)])
        if names not in self._means:
            self._means[names] = torch.zeros_like(new)
        self._means[names].add_(torch.where(finite, new, 0.0))

    def read(self) -> None:
        """Fetch the counters, in one read from the device.

        Raises:
            LddmError: too many consecutive steps since the last read were not finite.
        """
        tensors = [self._skips, *self._last.values()]
        flat = iter(torch.cat([tensor.double() for tensor in tensors]).tolist())
        skipped, row, most = (int(next(flat)) for _ in range(3))
        last = {names: [next(flat) for _ in tensor] for names, tensor in self._last.items()}
        self._skips[0].zero_()
        self._skips[2].copy_(self._skips[1])
        self.progress.in_a_row = row
        if skipped:
            names, (number, *values) = max(last.items(), key=lambda item: item[1][0])
            losses, norms = (
                dict(zip(names, part, strict=True)) for part in (values[: len(names)], values[len(names) :])
            )
            self.progress.skip_several(skipped, most, int(number), self.training.steps, losses, norms)

    def flush(self) -> dict[str, float]:
        """As `HostUpdate.flush`, in one read from the device."""
        totals: dict[str, tuple[float, float]] = {}
        if self._means:
            flat = iter(torch.cat(list(self._means.values())).tolist())
            for names, tensor in self._means.items():
                *sums, count = [next(flat) for _ in tensor]
                tensor.zero_()  # in place, because a graph accumulates into it
                # The same name may occur in several groups, since later steps may log more values.
                for name, value in zip(names, sums, strict=True):
                    before = totals.get(name, (0.0, 0.0))
                    totals[name] = (before[0] + value, before[1] + count)
        return {name: total / count for name, (total, count) in totals.items() if count} | super().flush()
