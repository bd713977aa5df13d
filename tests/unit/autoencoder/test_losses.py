"""Losses against closed forms."""

import math

import pytest
import torch

from lddm.autoencoder import losses
from lddm.autoencoder.discriminators import SpatialDiscriminator, TemporalDiscriminator
from lddm.autoencoder.posterior import Posterior
from lddm.nn.perceptual import PerceptualLoss


def test_kl_of_a_standard_normal_is_zero_and_of_a_shifted_one_is_known():
    zero = torch.zeros(4, 3)
    assert Posterior(zero, zero).kl() == 0
    assert Posterior(zero + 2, zero).kl() == pytest.approx(2.0)  # mu^2 / 2
    variance = 4.0
    assert Posterior(zero, zero + math.log(variance)).kl() == pytest.approx(0.5 * (variance - 1 - math.log(variance)))


def test_kl_agrees_with_torch_distributions():
    mean, logvar = torch.randn(5, 7), torch.randn(5, 7)
    reference = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * logvar).exp()), torch.distributions.Normal(0.0, 1.0)
    ).mean()
    assert Posterior(mean, logvar).kl() == pytest.approx(reference.item(), rel=1e-5)


def test_temporal_l1_sees_motion_and_not_brightness():
    x0 = torch.zeros(1, 1, 2, 2)
    frozen = torch.zeros(1, 1, 3, 2, 2)
    moving = torch.tensor([1.0, 2.0, 3.0])[None, None, :, None, None].expand(1, 1, 3, 2, 2)
    assert losses.temporal_l1(moving, moving, x0) == 0
    assert losses.temporal_l1(frozen, moving, x0) == pytest.approx(1.0)
    assert losses.temporal_l1(moving + 1, moving, x0) == pytest.approx(1 / 3)  # only the first step differs


def test_hinge_losses():
    assert losses.hinge_discriminator(torch.tensor([2.0]), torch.tensor([-2.0])) == 0
    assert losses.hinge_discriminator(torch.tensor([0.0]), torch.tensor([0.0])) == 1
    assert losses.hinge_generator(torch.tensor([0.5, 1.5])) == -1


def test_r1_is_per_sample():
    weight = torch.tensor([3.0, 4.0])
    for batch in (1, 5):
        real = torch.randn(batch, 2, requires_grad=True)
        assert losses.r1_penalty(real @ weight, real) == pytest.approx(25.0)


def test_feature_matching_sends_no_gradient_to_the_real_branch():
    real, fake = torch.zeros(2, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    loss = losses.feature_matching([real], [fake])
    loss.backward()
    assert loss == 1 and real.grad is None and fake.grad is not None


def test_discriminator_shapes():
    assert SpatialDiscriminator(4)(torch.rand(3, 1, 32, 32)).shape == (3, 1, 4, 4)
    logits, features = TemporalDiscriminator(4)(torch.rand(2, 1, 8, 32, 32))
    assert logits.shape == (2, 1) and len(features) == 4


def test_perceptual_distance_is_zero_for_equal_frames_and_grows_with_blur():
    loss = PerceptualLoss()
    torch.manual_seed(0)
    frames = torch.rand(2, 1, 64, 64) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(frames, 3, 1, 1)
    assert loss(frames, frames) == 0
    assert loss(frames, blurred) > loss(frames, 0.9 * frames + 0.1 * blurred) > 0
