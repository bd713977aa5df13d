"""Trainings of stage 2 with captured steps end with the weights of eager steps (replayed on the CPU)."""

import pytest
import torch

from benchmarks.training_steps import loop_steps, stage2_task
from lddm.training import graphs

CPU = torch.device("cpu")


@pytest.mark.parametrize("student", [False, True])
def test_captured_steps_of_stage_2_equal_eager_steps(monkeypatch, student, caplog):
    monkeypatch.setattr(graphs, "capture", lambda function, generators=(): function)
    found = {}
    for how in ("read each step", "read at the log", "graphs"):
        task, training = stage2_task(32, 4, CPU, student)
        step = loop_steps(task, training.model_copy(update={"log_every": 3}), CPU, how)
        for _ in range(4):
            step()
        (network,) = task.networks.values()
        found[how] = network.state_dict()
    assert not caplog.records
    for name, value in found["read each step"].items():
        assert torch.equal(value, found["read at the log"][name]) and torch.equal(value, found["graphs"][name]), name
