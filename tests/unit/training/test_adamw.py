"""Our AdamW against PyTorch's class, and what importing and using it loads."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lddm.training.adamw import AdamW

OPTIONS = {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.03}


def network() -> nn.Module:
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 2), nn.Linear(2, 2))
    layers.to(memory_format=torch.channels_last)
    layers[3].requires_grad_(False)  # a layer without gradients
    return layers


def steps(layers: nn.Module, optimizer, numbers, lr_of=lambda number: 0.01 / (1 + number)) -> None:
    for number in numbers:
        optimizer.zero_grad()
        x = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(number))
        layers(x.to(memory_format=torch.channels_last)).square().sum().backward()
        for group in optimizer.param_groups:
            group["lr"] = lr_of(number)
        optimizer.step()


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_gives_the_weights_of_pytorchs_class_to_the_last_bit():
    ours, theirs = network(), network()
    steps(ours, AdamW(ours.parameters(), **OPTIONS), range(6))
    steps(theirs, torch.optim.AdamW(theirs.parameters(), **OPTIONS, fused=True), range(6))
    assert same(ours, theirs) and not same(ours, network())


def test_a_restored_state_continues_as_if_nothing_had_happened():
    whole, cut = network(), network()
    steps(whole, AdamW(whole.parameters(), **OPTIONS), range(6))
    first, second = AdamW(cut.parameters(), **OPTIONS), AdamW(cut.parameters(), **OPTIONS)
    steps(cut, first, range(3))
    second.restore({name: value.clone() for name, value in first.tensors().items()})
    steps(cut, second, range(3, 6))
    assert same(whole, cut)
    moment = second.state[cut[0].weight]["exp_avg"]
    assert moment.is_contiguous(memory_format=torch.channels_last)
    assert set(second.tensors()) == {f"{i}.{name}" for i in range(4) for name in ("step", "exp_avg", "exp_avg_sq")}


@pytest.mark.parametrize("bad", [0.0, 1.0])
def test_a_step_that_is_not_finite_is_skipped(bad):
    ours, before = network(), network()
    optimizer = AdamW(ours.parameters(), **OPTIONS)
    optimizer.found_inf = torch.tensor(bad)
    steps(ours, optimizer, range(2), lambda _: torch.tensor(0.01, dtype=torch.float64))
    assert same(ours, before) == bool(bad)
    assert optimizer.state[ours[0].weight]["step"].item() == 2 * (1 - bad)


def test_training_and_classifiers_start_without_compiler_and_scikit_learn():
    code = """
import sys, torch
import lddm.classification.classify, lddm.generators.diffusion.train
from lddm.training.adamw import AdamW
weight = torch.nn.Parameter(torch.ones(2))
optimizer = AdamW([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)
weight.sum().backward()
torch.nn.utils.clip_grad_norm_([weight], 1.0)
optimizer.step()
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded and not {"torch._dynamo", "sympy", "sklearn", "scipy.stats", "torchvision"} & set(loaded)
