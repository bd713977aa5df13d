"""The loop: determinism, resume after a kill, choice by validation, and what stops it."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lddm.errors import LddmError
from lddm.settings.models import Training
from lddm.training.loop import train
from lddm.training.schedule import learning_rate, step_indices, step_rng
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
    """Learn y = 3 x from noisy examples; a second player learns the noise level."""

    def __init__(self, stop_at: int | None = None):
        torch.manual_seed(0)
        self.players = {"slope": nn.Linear(1, 1), "spread": nn.Linear(1, 1)}
        self.x = torch.linspace(-1, 1, 10)[:, None]
        self.stop_at = stop_at

    def batch(self, step):
        if step == self.stop_at:
            raise KeyboardInterrupt
        return self.x[step_indices(len(self.x), TRAINING.batch_size, 1, step)]

    def loss(self, player, batch, step, rng):
        target = 3 * batch + 0.1 * torch.randn(batch.shape, generator=rng)
        error = (self.players["slope"](batch) - target).square()
        if player == "slope":
            return error.mean(), {"error": error.mean()}
        return (None, {}) if step < 5 else ((self.players["spread"](batch) - error.detach()).square().mean(), {})


def weights_of(players):
    return {f"{n}.{k}": v.clone() for n, p in players.items() for k, v in p.state_dict().items()}


@pytest.mark.parametrize("killed_at", [2, 7, 11])
def test_a_killed_and_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, killed_at):
    whole = weights_of(train(Line(), TRAINING, 3, tmp_path / "a", lambda *_: None))
    with pytest.raises(KeyboardInterrupt):
        train(Line(stop_at=killed_at), TRAINING, 3, tmp_path / "b", lambda *_: None)
    lines = []
    resumed = weights_of(train(Line(), TRAINING, 3, tmp_path / "b", lambda step, _: lines.append(step)))
    assert lines[0] > killed_at // 3 * 3, "it began anew instead of resuming"
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_state_of_other_settings_data_or_a_damaged_one_is_not_resumed(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        train(Line(stop_at=7), TRAINING, 3, tmp_path, lambda *_: None, data_identity="a")
    for training, data in ((TRAINING, "b"), (TRAINING.model_copy(update={"weight_decay": 0.5}), "a")):
        lines = []
        short = training.model_copy(update={"log_every": 1})
        train(Line(), short, 3, tmp_path, lambda step, _, lines=lines: lines.append(step), data_identity=data)
        assert lines[0] == 1 and "other settings or data: training begins anew" in caplog.text
        caplog.clear()
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:200])
    train(Line(), TRAINING, 3, tmp_path, lambda *_: None, data_identity="b")
    assert "damaged" in caplog.text and "training begins anew" in caplog.text


def test_the_best_validated_weights_are_kept_and_survive_a_resume(tmp_path):
    values = iter([3.0, 1.0, 2.0])
    seen = []

    def validate(players):
        seen.append(weights_of(players))
        return {"error": next(values)}

    kept = weights_of(train(Line(), TRAINING, 3, tmp_path / "a", lambda *_: None, validate, keep_best="error"))
    assert all(torch.equal(kept[name], seen[1][name]) for name in kept)

    def by_step(task):
        return lambda players: {"error": abs(float(players["slope"].weight) - 1.0)}

    with pytest.raises(KeyboardInterrupt):
        task = Line(stop_at=10)
        train(task, TRAINING, 3, tmp_path / "b", lambda *_: None, by_step(task), keep_best="error")
    task = Line()
    resumed = weights_of(train(task, TRAINING, 3, tmp_path / "b", lambda *_: None, by_step(task), keep_best="error"))
    task = Line()
    whole = weights_of(train(task, TRAINING, 3, tmp_path / "c", lambda *_: None, by_step(task), keep_best="error"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_loss_that_is_not_finite_stops_with_a_hint_and_keeps_the_last_good_state(tmp_path):
    class Bad(Line):
        def loss(self, player, batch, step, rng):
            loss, logs = super().loss(player, batch, step, rng)
            return (loss * math.nan if step == 8 and loss is not None else loss), logs

    with pytest.raises(LddmError, match="step 8") as error:
        train(Bad(), TRAINING, 3, tmp_path, lambda *_: None)
    assert "learning_rate" in error.value.hint
    assert (tmp_path / "state.safetensors").is_file()


def test_indices_visit_every_example_once_a_pass_and_depend_on_step_alone():
    drawn = np.concatenate([step_indices(10, 4, 5, step) for step in range(5)])
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert not np.array_equal(drawn[:10], drawn[10:])
    assert np.array_equal(step_indices(10, 4, 5, 3), drawn[12:16])
    assert len(step_indices(3, 8, 0, 0)) == 8


def test_learning_rate_warms_up_and_ends_near_zero():
    rates = [learning_rate(TRAINING, step) for step in range(12)]
    assert rates[0] < rates[1] == max(rates)
    assert 0 < rates[-1] < 0.02 * 0.05 * 10
    assert learning_rate(TRAINING, 6) == pytest.approx(0.025)  # half way: half the peak


def test_noise_of_a_step_is_the_same_whatever_ran_before():
    first = torch.randn(3, generator=step_rng(1, 7))
    torch.randn(100)
    assert torch.equal(first, torch.randn(3, generator=step_rng(1, 7)))
    assert not torch.equal(first, torch.randn(3, generator=step_rng(1, 8)))


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
    with pytest.raises(LddmError, match="no weights of ours"):
        load_weights(path, "toy")
    with pytest.raises(LddmError, match="does not exist"):
        load_weights(tmp_path / "none", "toy")
