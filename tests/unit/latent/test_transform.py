"""Normalised latents: invertible, with separate amplitude and shape; the log-amplitude determines the size of samples."""

import pytest
import torch

from lddm.errors import LddmError
from lddm.latent.dataset import LatentSet, save_latents
from lddm.latent.spec import LatentSpec, unit_rows
from lddm.latent.transform import LatentTransform
from lddm.training.weights import save_weights

SPECS = {
    "low_rank": LatentSpec("low_rank", frames=8, motion_rank=2, gain_rank=1, map_size=4),
    "vector": LatentSpec("vector", frames=8, dim=5),
    "grid": LatentSpec("grid", frames=8, map_size=4, channels=2, grid_frames=2),
}
LOW_RANK = SPECS["low_rank"]


def latents(kind, n=600, still=0):
    """z in physical units, (n, D): fields of log-normal amplitude, the last `still` of them without motion."""
    spec, rng = SPECS[kind], torch.Generator().manual_seed(0)
    if kind != "low_rank":
        return 2 + 3 * torch.randn(n, spec.size, generator=rng)
    amplitude = (0.5 * torch.randn(n, 3, generator=rng) + torch.tensor([0.5, -1.0, 0.0])).exp()
    amplitude[n - still :, :2] = 0
    maps = 1 + 0.3 * torch.randn(n, 5, 4, 4, generator=rng)
    rows = torch.cumsum(torch.randn(n, 3, 8, generator=rng), dim=2)
    return spec.join(maps * spec.per_channel(amplitude), unit_rows(rows))


def fitted(kind, **options):
    z = latents(kind, **options)
    return z, LatentTransform.fit(SPECS[kind], z, torch.zeros_like(z))


@pytest.mark.parametrize("kind", SPECS)
def test_it_inverts(kind):
    z, transform = fitted(kind)
    normalised = transform(z)
    assert normalised.shape == (600, SPECS[kind].normalised_size)
    assert torch.allclose(transform.invert(normalised), z, atol=1e-5, rtol=1e-5)
    assert torch.allclose(transform(transform.invert(normalised)), normalised, atol=1e-3)


def test_every_number_is_standardised():
    z, transform = fitted("low_rank")
    normalised = transform(z)
    assert normalised.mean(dim=0).abs().max() < 0.02
    assert normalised.std(dim=0).min() > 0.8 and normalised.std(dim=0).max() < 1.1
    # The amplitudes are normal scores, whatever their distribution: here its fourth power has a heavy tail.
    assert (normalised[:, LOW_RANK.size :].pow(4).mean(dim=0) - 3).abs().max() < 0.5


def test_only_the_log_amplitude_determines_the_size_of_motion():
    z, transform = fitted("low_rank")
    normalised = transform(z)
    normalised[:, LOW_RANK.size] += 1
    maps, rows = LOW_RANK.split(z)
    larger, others = LOW_RANK.split(transform.invert(normalised))
    ratio = larger[:, :2] / maps[:, :2]
    assert ratio.min() > 1.2 and torch.allclose(ratio, ratio[:, :1, :1, :1].expand_as(ratio), rtol=1e-3)
    assert torch.allclose(larger[:, 2:], maps[:, 2:], atol=1e-5)
    assert torch.allclose(others[:, 1:], rows[:, 1:], atol=1e-4)
    similarity = (others[:, 0] * rows[:, 0]).mean(dim=1)
    assert similarity.median() > 0.95  # of its row, the main axes grow


def test_the_amplitude_is_proportional_to_the_motion():
    z, transform = fitted("low_rank")
    maps, rows = LOW_RANK.split(z)
    double = LOW_RANK.join(torch.cat([2 * maps[:, :2], maps[:, 2:]], dim=1), rows)
    change = transform(double)[:, LOW_RANK.size :] - transform(z)[:, LOW_RANK.size :]
    assert change[:, 0].min() > 0.5 and change[:, 1:].abs().max() < 1e-4
    assert torch.allclose(LOW_RANK.split(transform.invert(transform(double)))[0], LOW_RANK.split(double)[0], rtol=1e-3)


def test_the_split_of_amplitude_between_map_and_row_is_irrelevant():
    z, transform = fitted("low_rank")
    maps, rows = LOW_RANK.split(z)
    assert torch.allclose(transform(LOW_RANK.join(maps / 3, 3 * rows)), transform(z), atol=1e-4)


def test_samples_have_unit_rows_and_amplitudes_like_those_of_training():
    z, transform = fitted("low_rank")
    drawn = 3 * torch.randn(2000, LOW_RANK.normalised_size, generator=torch.Generator().manual_seed(1))
    drawn[:, LOW_RANK.size :] /= 3  # white parts that are far too large do not make the motion larger
    made, theirs = (LOW_RANK.split(each) for each in (transform.invert(drawn), z))
    assert torch.allclose(made[1].square().mean(dim=2), torch.ones(2000, 3), atol=1e-3)
    sizes = [
        maps[:, :2].square().mean(dim=(1, 2, 3)).sqrt().quantile(torch.tensor([0.1, 0.5, 0.9]))
        for maps, _ in (made, theirs)
    ]
    assert torch.allclose(*sizes, rtol=0.1)
    again = transform(transform.invert(drawn))
    assert torch.allclose(again[:, LOW_RANK.size :], drawn[:, LOW_RANK.size :], atol=1e-2)


def test_measurement_noise_does_not_scale_with_the_amplitude():
    """Smooth rows with a noise of 0.01 px: samples whose row says half of their amplitude do not jerk twice as much."""
    rng = torch.Generator().manual_seed(0)
    amplitude = (0.7 * torch.randn(2000, 1, 1, generator=rng)).exp()
    wave = torch.sin(torch.arange(8) / 3 + 6 * torch.rand(2000, 3, 1, generator=rng))
    rows = unit_rows(unit_rows(wave) + 0.01 / amplitude * torch.randn(2000, 3, 8, generator=rng))
    z = LOW_RANK.join(amplitude[..., None] * torch.ones(2000, 5, 4, 4), rows)
    transform = LatentTransform.fit(LOW_RANK, z, 0 * z)
    normalised = transform(z)
    mixed = transform.invert(
        torch.cat([normalised[:, : LOW_RANK.size], normalised[:, LOW_RANK.size :].roll(1, 0)], dim=1)
    )

    def jerk(each):
        maps, rows = LOW_RANK.split(each)
        motion = maps[:, :1, 0, 0] * rows[:, 0]
        return motion.diff(n=4, dim=1).square().mean()

    assert jerk(mixed) < 2 * jerk(z)


def test_a_clip_without_motion_has_a_finite_log_amplitude():
    z, transform = fitted("low_rank", still=60)
    normalised = transform(z)
    assert torch.isfinite(normalised).all() and normalised[:, LOW_RANK.size :].abs().max() < 5
    back = LOW_RANK.split(transform.invert(normalised[-60:]))[0][:, :4]
    assert back.abs().max() < 0.02
    nothing = LatentTransform.fit(LOW_RANK, 0 * z, 0 * z)
    assert torch.isfinite(nothing(0 * z)).all()
    assert torch.isfinite(nothing.invert(torch.randn(2, LOW_RANK.normalised_size))).all()


def test_the_width_of_the_posterior_is_part_of_the_variance():
    mean = torch.randn(5000, 5, generator=torch.Generator().manual_seed(1))
    transform = LatentTransform.fit(SPECS["vector"], mean, torch.full_like(mean, 2.0))
    assert transform.whitening.scale.tolist() == pytest.approx([5**0.5] * 5, rel=0.05)


def test_augmented_copies_do_not_count_as_independent_clips(tmp_path):
    """Latents with their mirrored copies are whitened with the floor of the clips that they come from."""
    z = latents("low_rank", 50)  # fewer clips than a map has numbers, so that the floor counts
    z[:, :80].view(50, 5, 16)[:, :, 8:] = z[:, :80].view(50, 5, 16)[:, :, :8]
    names, none, label = [f"clip-{i}" for i in range(50)] * 2, torch.zeros(100, dtype=torch.bool), torch.zeros(100)
    twice = torch.cat([z, z])
    save_latents(tmp_path / "z", LOW_RANK, names, twice, 0 * twice, none, none, label.long(), ~none)
    once, many = (LatentTransform.fit(LOW_RANK, part, 0 * part) for part in (z, twice))
    saved, once, many = (each.whitening.whiten_maps for each in (LatentSet.load(tmp_path / "z").transform, once, many))
    assert torch.allclose(saved, once, rtol=1e-3, atol=1e-3) and not torch.allclose(many, once, rtol=1e-2)


def test_latents_of_an_earlier_version_raise_one_clear_error(tmp_path):
    z = latents("vector", 20)
    tensors = {"mean": z, "std": z, "whitening.shift": z[0], "whitening.scale": z[0]}
    save_weights(tmp_path / "old", tensors, "latents", spec=SPECS["vector"].to_dict(), clip=[])
    with pytest.raises(LddmError, match="written by another version") as error:
        LatentSet.load(tmp_path / "old")
    assert "encode again" in error.value.hint
