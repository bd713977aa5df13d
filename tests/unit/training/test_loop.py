"""The loop: determinism, resume after a kill, choice by validation, and what stops it."""

import math

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from lddm.errors import LddmError
from lddm.settings.models import Training
from lddm.training import update
from lddm.training.adamw import AdamW
from lddm.training.averages import average_of
from lddm.training.loop import train
from lddm.training.schedule import learning_rate, step_generator, step_indices
from lddm.training.state import remove_state
from lddm.training.weights import load_weights, save_weights

TRAINING = Training(
    steps=12,
    batch_size=4,
    learning_rate=0.05,
    warmup_steps=2,
    ema_decay=0.5,
    log_every=4,
    val_every=4,
    checkpoint_every=3,
)


class Line:
    """Learn y = 3 x from noisy examples; a second network learns the noise level."""

    def __init__(self, stop_at: int | None = None):
        torch.manual_seed(0)
        self.networks = {"slope": nn.Linear(1, 1), "spread": nn.Linear(1, 1)}
        self.x = torch.linspace(-1, 1, 10)[:, None]
        self.stop_at = stop_at

    def batch(self, step):
        if step == self.stop_at:
            raise KeyboardInterrupt
        return self.x[step_indices(len(self.x), TRAINING.batch_size, 1, step)]

    def loss(self, name, batch, step, rng):
        target = 3 * batch + 0.1 * torch.randn(batch.shape, generator=rng)
        error = (self.networks["slope"](batch) - target).square()
        if name == "slope":
            return error.mean(), {"error": error.mean()}
        return (None, {}) if step < 5 else ((self.networks["spread"](batch) - error.detach()).square().mean(), {})


def weights_of(networks):
    return {f"{n}.{k}": v.clone() for n, p in networks.items() for k, v in p.state_dict().items()}


@pytest.mark.parametrize("killed_at", [2, 7, 11])
def test_a_killed_and_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, killed_at):
    whole = weights_of(train(Line(), TRAINING, 3, tmp_path / "a", lambda *_: None))
    with pytest.raises(KeyboardInterrupt):
        train(Line(stop_at=killed_at), TRAINING, 3, tmp_path / "b", lambda *_: None)
    lines = []
    resumed = weights_of(train(Line(), TRAINING, 3, tmp_path / "b", lambda step, _: lines.append(step)))
    assert lines[0] > killed_at // 3 * 3, "it started from the beginning instead of resuming"
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def damages(state):
    """Ways in which a state file can be damaged, each as its bytes."""
    flipped = bytearray(state)
    flipped[len(state) - 10] ^= 1
    return {
        "cut off": state[:200],
        "cut off in the tensors": state[:-8],
        "empty": b"",
        "one bit": bytes(flipped),
        "not ours": safetensors.torch.save({"x": torch.zeros(1)}),
        "no metadata of ours": safetensors.torch.save({"x": torch.zeros(1)}, {"format": "pt"}),
    }


def test_a_damaged_state_is_not_resumed(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        train(Line(stop_at=7), TRAINING, 3, tmp_path / "whole", lambda *_: None)
    state = (tmp_path / "whole/state.safetensors").read_bytes()
    for name, damaged in damages(state).items():
        caplog.clear()
        lines, folder = [], tmp_path / name
        folder.mkdir()
        (folder / "state.safetensors").write_bytes(damaged)
        train(Line(), TRAINING, 3, folder, lambda *line, lines=lines: lines.append(line))
        assert lines[0][0] == 4, name
        assert "is damaged" in caplog.text and "Training starts from the beginning" in caplog.text, name


def test_a_finished_run_leaves_no_state_once_it_is_removed(tmp_path):
    folder = tmp_path / "state"
    train(Line(), TRAINING, 3, folder, lambda *_: None)
    (folder / ".state.77-abc.safetensors").touch()  # of a process that was killed while it wrote
    (folder / "notes.txt").touch()
    remove_state(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    remove_state(folder)
    assert not folder.exists()
    remove_state(folder)  # nothing to remove


def test_the_best_validated_weights_are_kept_and_survive_a_resume(tmp_path):
    values = iter([3.0, 1.0, 2.0])
    seen = []

    def validate(networks):
        seen.append(weights_of(networks))
        return {"error": next(values)}

    kept = weights_of(train(Line(), TRAINING, 3, tmp_path / "a", lambda *_: None, validate, keep_best="error"))
    assert all(torch.equal(kept[name], seen[1][name]) for name in kept)

    def by_step(task):
        return lambda networks: {"error": abs(float(networks["slope"].weight) - 1.0)}

    with pytest.raises(KeyboardInterrupt):
        task = Line(stop_at=10)
        train(task, TRAINING, 3, tmp_path / "b", lambda *_: None, by_step(task), keep_best="error")
    task = Line()
    resumed = weights_of(train(task, TRAINING, 3, tmp_path / "b", lambda *_: None, by_step(task), keep_best="error"))
    task = Line()
    whole = weights_of(train(task, TRAINING, 3, tmp_path / "c", lambda *_: None, by_step(task), keep_best="error"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


class Bad(Line):
    """A line whose named network has a loss that is not finite at some steps; the slope also normalises its batches."""

    def __init__(self, name, steps, factor=math.nan, stop_at=None):
        super().__init__(stop_at)
        self.networks["slope"] = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
        self.bad, self.factor = (name, steps), factor

    def batch(self, step):
        batch = super().batch(step)
        return batch * self.factor if self.bad[0] == "data" and step in self.bad[1] else batch

    def loss(self, name, batch, step, rng):
        loss, logs = super().loss(name, batch, step, rng)
        if loss is not None and name == self.bad[0] and step in self.bad[1]:
            loss = loss * self.factor
        return loss, logs


def watch_steps(monkeypatch):
    """Names of the networks whose optimiser steps, as they step."""
    steps, step = [], AdamW.step
    monkeypatch.setattr(AdamW, "step", lambda self, *a, **k: (steps.append(1), step(self, *a, **k))[1])
    return steps


@pytest.mark.parametrize("name", ["slope", "spread", "data"])
@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_step_that_is_not_finite_changes_no_network(tmp_path, monkeypatch, caplog, name, factor):
    lines, steps = [], watch_steps(monkeypatch)
    networks = train(Bad(name, {7}, factor), TRAINING, 3, tmp_path, lambda *line: lines.append(line))
    assert len(steps) == 5 + 2 * 6  # slope alone in 5 steps, then both in 7, one of which is skipped
    assert all(torch.isfinite(value).all() for value in weights_of(networks).values())
    assert all(math.isfinite(value) for _, values in lines for value in values.values())
    assert "skipped_steps" not in lines[0][1] and lines[-1][1]["skipped_steps"] == 1
    assert "step 8 skipped" in caplog.text


def test_skipped_steps_are_resumed_as_all_else(tmp_path):
    bad = set(range(2, 11))  # nine in a row, over three states
    whole = weights_of(train(Bad("slope", bad), TRAINING, 3, tmp_path / "a", lambda *_: None))
    with pytest.raises(KeyboardInterrupt):
        train(Bad("slope", bad, stop_at=7), TRAINING, 3, tmp_path / "b", lambda *_: None)
    lines = []
    resumed = train(Bad("slope", bad), TRAINING, 3, tmp_path / "b", lambda *line: lines.append(line))
    assert all(torch.equal(whole[name], value) for name, value in weights_of(resumed).items())
    assert lines[-1][1]["skipped_steps"] == 9


def test_ten_skipped_steps_in_a_row_stop_the_run_also_over_a_kill(tmp_path):
    bad = set(range(1, 11))
    with pytest.raises(KeyboardInterrupt):
        train(Bad("slope", bad, stop_at=7), TRAINING, 3, tmp_path, lambda *_: None)
    with pytest.raises(LddmError, match="10 steps in a row, up to step 11, .*slope: loss nan") as error:
        train(Bad("slope", bad), TRAINING, 3, tmp_path, lambda *_: None)
    assert "training.learning_rate" in error.value.hint
    assert (tmp_path / "state.safetensors").is_file()


def test_a_short_run_without_any_finite_step_is_an_error(tmp_path):
    with pytest.raises(LddmError, match="3 steps in a row"):
        train(Bad("slope", range(3)), TRAINING.model_copy(update={"steps": 3}), 3, tmp_path, lambda *_: None)


def test_a_validation_that_is_never_finite_is_an_error(tmp_path):
    with pytest.raises(LddmError, match="'error' was never finite"):
        train(Line(), TRAINING, 3, tmp_path, lambda *_: None, lambda _: {"error": math.nan}, "error")


def test_the_average_warms_up_and_decay_zero_keeps_the_last_weights():
    network = nn.Linear(1, 1, bias=False)
    slow, off = average_of(network, 0.999), average_of(network, 0.0)
    expected = 0.0
    for n in range(40):
        nn.init.constant_(network.weight, float(n))
        decay = min(0.999, (1 + n) / (10 + n)) if n else 0.0
        expected = decay * expected + (1 - decay) * n
        slow.update_parameters(network)
        off.update_parameters(network)
        assert off.module.weight.item() == n
    assert slow.module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert expected > 25  # with the full decay from the start it would be below one


def test_the_optimiser_has_the_betas_rates_decay_and_limit_of_its_settings(tmp_path, monkeypatch):
    made, real, norms = [], AdamW, []
    monkeypatch.setattr(update, "AdamW", lambda *args, **options: made.append(real(*args, **options)) or made[-1])
    changes = {"steps": 7, "adam_beta1": 0.5, "adam_beta2": 0.9, "grad_clip": None, "learning_rate": 0.01}
    changes |= {"weight_decay": 0.03}
    task = Bad("spread", range(7), factor=1e6)  # large gradients
    clip = nn.utils.clip_grad_norm_

    def clipped(parameters, limit):
        parameters = list(parameters)
        before = parameters[0].grad.clone()
        norms.append(clip(parameters, limit))
        assert torch.equal(parameters[0].grad, before), "a gradient was clipped"
        return norms[-1]

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", clipped)
    training = TRAINING.model_copy(update=changes)
    train(task, training, 3, tmp_path, lambda *_: None, learning_rates={"spread": 0.0025})
    slope, spread = (optimizer.param_groups[0] for optimizer in made)
    assert slope["betas"] == spread["betas"] == (0.5, 0.9) and max(norms) > 1e3
    assert slope["weight_decay"] == spread["weight_decay"] == 0.03
    assert spread["lr"] == pytest.approx(slope["lr"] / 4) and slope["lr"] == learning_rate(training, 6)


def test_two_precisions_train_in_one_process(tmp_path):
    seen = {}
    for precision in ("no", "bf16", "no"):

        class Spy(Line):
            def loss(self, name, batch, step, rng):
                seen[precision] = self.networks["slope"](batch).dtype  # noqa: B023
                return super().loss(name, batch, step, rng)

        training = TRAINING.model_copy(update={"precision": precision, "steps": 2})
        train(Spy(), training, 3, tmp_path / precision, lambda *_: None)
        assert seen[precision] == (torch.bfloat16 if precision == "bf16" else torch.float32)


def test_indices_visit_every_example_once_a_pass_and_depend_on_step_alone():
    drawn = np.concatenate([step_indices(10, 4, 5, step) for step in range(5)])
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert not np.array_equal(drawn[:10], drawn[10:])
    assert np.array_equal(step_indices(10, 4, 5, 3), drawn[12:16])
    assert len(step_indices(3, 8, 0, 0)) == 8


def test_integers_of_a_network_are_copied_not_averaged():
    network = nn.Linear(1, 1)
    network.permutation = nn.Parameter(torch.tensor([1, 0]), requires_grad=False)  # as FrEIA's PermuteRandom has
    average = average_of(network, 0.9)
    for values in ([0, 1], [1, 0]):
        network.permutation.data = torch.tensor(values)
        average.update_parameters(network)
        assert average.module.permutation.tolist() == values


def test_learning_rate_warms_up_and_ends_near_zero():
    rates = [learning_rate(TRAINING, step) for step in range(12)]
    assert rates[0] < rates[1] == max(rates)
    assert 0 < rates[-1] < 0.02 * 0.05 * 10
    assert learning_rate(TRAINING, 6) == pytest.approx(0.025)  # half way: half the peak


def test_noise_of_a_step_is_the_same_whatever_ran_before():
    first = torch.randn(3, generator=step_generator(1, 7))
    torch.randn(100)
    assert torch.equal(first, torch.randn(3, generator=step_generator(1, 7)))
    assert not torch.equal(first, torch.randn(3, generator=step_generator(1, 8)))


def test_weights_say_what_they_are(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, nn.Linear(2, 1), "toy", size=3)
    state, about = load_weights(path, "toy")
    assert set(state) == {"weight", "bias"} and about == {"size": 3}
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # a group that may read may read weights
    with pytest.raises(LddmError, match="kind 'other', got 'toy'"):
        load_weights(path, "other")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(LddmError, match="is not a weight file of LDDM"):
        load_weights(path, "toy")
    with pytest.raises(LddmError, match="does not exist"):
        load_weights(tmp_path / "none", "toy")
