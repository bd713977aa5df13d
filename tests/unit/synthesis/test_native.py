"""Videos at native size: geometry, static parts, and decoders without motion fields."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lddm.autoencoder.decoder import OPEN, Layers, WarpDecoder
from lddm.autoencoder.measured import measure_store
from lddm.data.ranges import to_float
from lddm.data.square import SquareFit, fit_square, reduced
from lddm.errors import LddmError
from lddm.generators.sampling import SamplingOptions
from lddm.latent.spec import LatentSpec
from lddm.settings.models import AutoencoderSettings, SynthesisSettings
from lddm.synthesis.animate import Animator
from lddm.synthesis.burned_in import burned_in_words
from lddm.synthesis.moving_part import flat_background, moving_part
from lddm.synthesis.native import NativeStill, mirror_at_edge, within_frame
from lddm.synthesis.seeds import content_id, video_seed
from lddm.synthesis.synthesize import synthesize

S, T = 32, 4
OPTIONS = SamplingOptions(num_inference_steps=2)
CPU = torch.device("cpu")


def drawn(native, x0, parts):
    """All frames, uint8 (T, H, W)."""
    return np.stack(list(native.frames(parts)))


def speckle(height, width, seed=0):
    noise = np.random.default_rng(seed).normal(size=(height, width))
    return np.clip(120 + 60 * cv2.GaussianBlur(noise, (0, 0), 1.5) * 4, 30, 255).astype(np.uint8)


def fan(height=240, width=320):
    """A fan of speckle on black with a ruler and a word beside it, and the mask of its tissue."""
    rows, columns = np.mgrid[:height, :width]
    angle, radius = np.arctan2(columns - width / 2, rows + 40.0), np.hypot(columns - width / 2, rows + 40.0)
    tissue = (abs(angle) < 0.6) & (radius > 50) & (radius < height + 20)
    image = np.where(tissue, speckle(height, width), 0).astype(np.uint8)
    image[10:200:20, 4:12] = 255
    image[20:26, width - 60 : width - 20 : 3] = 230
    return image, tissue


def layers(motion=(0.0, 0.0), log_gain=0.0, logits=-9.0, frames=T, size=S):
    """Layers that are the same everywhere; the motion grows from frame to frame."""
    share = torch.arange(1, frames + 1) / frames
    field = share[:, None] * torch.tensor(motion)
    flat = torch.ones(1, 1, frames, size, size)
    motion = field[None, :, :, None, None].expand(1, frames, 2, size, size)
    return Layers(motion, logits * flat, log_gain * flat)


def gain_of(log_gain):
    """The factor, which saturates at two."""
    return 2 ** np.tanh(log_gain / np.log(2))


def still_of(image, fit="pad"):
    """The still ready to be moved, and x0."""
    square = fit_square(image[None], S, fit)
    return NativeStill(image, SquareFit.of(image.shape, S, fit), CPU), to_float(torch.from_numpy(square))[None]


@pytest.mark.parametrize(
    ("shape", "fit"), [((96, 200), "pad"), ((150, 70), "pad"), ((96, 200), "crop"), ((20, 17), "pad")]
)
def test_each_pixel_of_a_frame_is_found_in_the_square(shape, fit):
    """A ramp keeps its values where positions say that it lies."""
    for axis in (0, 1):
        ramp = np.indices(shape)[axis] * (200.0 / shape[axis])
        square = fit_square(ramp.astype(np.uint8)[None], S, fit)[0].astype(float)
        at = SquareFit.of(shape, S, fit).positions()
        inner = [np.flatnonzero((place > 2) & (place < S - 3)) for place in at]
        rows, columns = (np.rint(place[i]).astype(int) for place, i in zip(at, inner, strict=True))
        expected, step = ramp[np.ix_(*inner)], 200.0 / shape[axis] * max(1, SquareFit.of(shape, S, fit).scale[axis])
        there = square[np.ix_(rows, columns)]
        assert np.abs(there - expected)[there > 0].max() < step + 2


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("shape", [(96, 200), (200, 96), (97, 131), (64, 64), (24, 20)])
def test_displacements_are_scaled_to_native_pixels(shape, fit):
    image = speckle(*shape)
    native, x0 = still_of(image, fit)
    down, across = native.fit.scale
    rows, columns = 2, -1  # pixels of the still, small beside the distance of the inner part to the border
    frames = drawn(native, x0, layers((rows / down, columns / across)))
    moved = np.roll(image, (-rows, -columns), axis=(0, 1))
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(frames[-1][inner].astype(int) - moved[inner]).max() <= 1
    assert frames.shape == (T, *shape)


def test_frames_do_not_depend_on_the_other_frames():
    native, x0 = still_of(fan()[0])
    motion = layers((2.0, 1.0), log_gain=0.1)
    one = Layers(motion.motion[:, 2:3], motion.occlusion_logits[:, :, 2:3], motion.log_gain[:, :, 2:3])
    assert np.array_equal(drawn(native, x0, one)[0], drawn(native, x0, motion)[2])


def test_pixels_outside_the_tissue_and_the_edge_of_a_fan_are_static():
    image, tissue = fan()
    native, x0 = still_of(image)
    frames = drawn(native, x0, layers((2.0, 1.5), log_gain=0.3))
    assert (frames[:, ~tissue] == image[~tissue]).all()
    deep = native.moves & tissue
    assert deep.sum() > 0.95 * tissue.sum() and (frames[-1] != image)[deep].mean() > 0.9
    even, x0 = still_of(np.where(tissue, 150, image).astype(np.uint8))  # nothing to see but the edge
    change = np.abs(drawn(even, x0, layers((3.0, -2.0))).astype(int) - even.image)
    assert (change > 1).sum(axis=(1, 2)).max() <= 3


def test_brightness_changes_by_a_gain_so_that_black_stays_black_and_shadows_dark():
    image = speckle(128, 128)
    image[40:90, 40:90] = 0
    image[40:90, 95:120] = 12
    native, x0 = still_of(image)
    bright, dark = (drawn(native, x0, layers(log_gain=value))[-1].astype(float) for value in (0.4, -0.9))
    assert (bright[50:80, 50:80] == 0).all() and bright[50:80, 100:115].max() < 24
    assert bright[100:].mean() / image[100:].mean() == pytest.approx(gain_of(0.4), rel=0.05)
    contrast = [frame[100:].std() / frame[100:].mean() for frame in (bright, image)]
    assert contrast[0] == pytest.approx(contrast[1], rel=0.15)  # an added constant would take a quarter
    assert dark[100:].mean() / image[100:].mean() == pytest.approx(gain_of(-0.9), rel=0.05)


def test_new_tissue_has_the_local_brightness():
    image = (speckle(96, 96) * np.where(np.arange(96) < 48, 0.4, 1.0)[:, None]).astype(np.uint8)
    native, x0 = still_of(image)
    error = [
        np.abs(cv2.blur(drawn(native, x0, layers((4.0, 0.0), logits=logits))[-1], (9, 9)) - cv2.blur(image, (9, 9)).astype(float))
        for logits in (-9.0, 20.0)
    ]  # fmt: skip
    assert error[1][40:56, 8:-8].mean() < 0.5 * error[0][40:56, 8:-8].mean()  # the edge between dark and bright is back


@pytest.mark.parametrize("size", [S, 160])
def test_half_new_tissue_does_not_blur_the_texture(size):
    """A mixture of speckle with other speckle has less contrast than either: on lungs a sixth of the sharpness was lost so."""
    image = speckle(size, size)
    native, x0 = still_of(image)
    moved, mixed = (drawn(native, x0, layers((2.0, 1.5), logits=logits))[-1].astype(float) for logits in (-9.0, OPEN))
    detail = [np.std(part - cv2.GaussianBlur(part, (0, 0), 1.5)) for part in (moved, mixed)]
    assert detail[1] > 0.9 * detail[0] and np.abs(moved - mixed).mean() > 1
    decoder = WarpDecoder(LatentSpec("low_rank", T, motion_rank=1, gain_rank=1, map_size=4), S, 4, (1, 1), 4)
    frames = [decoder.compose(x0, layers((2.0, 1.5), logits=logits)).frames[0, 0, -1] for logits in (-9.0, OPEN)]
    fine = [(part - F.avg_pool2d(part[None], 3, 1, 1)[0]).std() for part in frames]
    assert fine[1] > 0.8 * fine[0]


def test_no_tissue_is_taken_from_beyond_the_frame():
    motion = torch.randn(2, 48, 64, generator=torch.Generator().manual_seed(0)) * 20
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    limited = within_frame(motion)
    sources = torch.stack([rows, columns]) + limited
    assert sources.min() >= -0.01 and sources[0].max() <= 47.01 and sources[1].max() <= 63.01
    assert torch.equal(limited.sign(), motion.sign())
    pushed = within_frame(torch.full((2, 48, 64), 30.0))
    assert (rows + pushed[0]).diff(dim=0).min() > 0.39 and (columns + pushed[1]).diff(dim=1).min() > 0.39  # no streaks
    small = torch.full((2, 48, 64), 2.0)
    inner = within_frame(small)[:, 7:-7, 7:-7]
    assert torch.equal(inner, torch.full_like(inner, 2))


def test_tissue_is_mirrored_at_the_edge():
    rows = np.arange(80)[:, None]
    image = np.where(rows < 40, 100 + 2 * rows, 0).astype(np.uint8) * np.ones((1, 60), np.uint8)
    out = mirror_at_edge(image, np.broadcast_to(rows < 40, image.shape))
    assert np.array_equal(out[:40], image[:40])
    assert np.abs(out[42:70, 30].astype(int) - (100 + 2 * (77 - np.arange(42, 70)))).max() <= 4
    assert mirror_at_edge(image, np.ones(image.shape, bool)) is image


def test_the_moving_part_excludes_the_compression_rim():
    image, tissue = fan(400, 480)
    rng = np.random.default_rng(0)
    ringing = ~tissue & (np.roll(tissue, 8, 1) | np.roll(tissue, -8, 1)) & (np.arange(480) > 20)
    image[ringing] = rng.integers(0, 12, ringing.sum())
    moves = moving_part(image)
    assert (moves & ringing).sum() < 0.05 * ringing.sum() and (tissue & ~moves).sum() < 0.05 * tissue.sum()


def test_black_beside_a_fan_with_a_smudge_is_static():
    image, tissue = fan(400, 480)
    rows, columns = np.mgrid[:400, :480]
    smudge = 14 * np.exp(-((rows - 90) ** 2 + (columns - 130) ** 2) / 800.0)
    smudged = np.maximum(image, smudge.astype(np.uint8))
    black = ~tissue & (smudged <= 2)
    moves = moving_part(smudged)
    assert (moves & black).sum() < 0.01 * tissue.sum() and (tissue & ~moves).sum() < 0.05 * tissue.sum()


def test_dark_fluid_at_the_edge_of_a_fan_moves_with_the_tissue():
    """Motion that stopped at its ragged outline tore the tissue beside it."""
    image, tissue = fan(400, 480)
    rows, columns = np.mgrid[:400, :480]
    ragged = 70 + 12 * np.sin(rows / 5.0)
    fluid = tissue & (np.hypot(rows - 200, columns - 90) < ragged)
    assert fluid.sum() > 0.03 * tissue.sum() and not tissue[200, 40]  # it lies at the left side
    image[fluid] = 0
    moves = moving_part(image)
    assert (fluid & ~moves).sum() < 0.15 * fluid.sum() and (moves & ~tissue).sum() < 0.01 * tissue.sum()


def test_dark_layers_at_the_border_of_a_window_move():
    image = speckle(300, 400)
    image[60:90, :120] = 3
    image[120:135] = 2
    assert moving_part(image)[3:-3, 3:-3].all()


def test_rulers_and_grey_bars_beside_the_fan_are_static():
    image, tissue = (np.pad(part, ((0, 0), (0, 300))) for part in fan(600, 800))
    image[100:300, 900:920] = np.linspace(0, 255, 200)[:, None].astype(np.uint8)
    image[150:500:40, 820:840] = 200
    moves = moving_part(image)
    assert (moves & ~tissue).sum() < 0.01 * tissue.sum() and (tissue & ~moves).sum() < 0.03 * tissue.sum()


def test_the_moving_part_excludes_frames_and_flat_backgrounds():
    framed = np.zeros((200, 260), np.uint8)
    framed[[2, -3]], framed[:, [2, -3]] = 90, 90
    framed[6:-6, 6:-6] = speckle(188, 248)
    moves = moving_part(framed)
    assert not moves[:4].any() and not moves[:, -4:].any() and moves[10:-10, 10:-10].all()
    image, tissue = fan()
    grey = np.where(image == 0, 18, image).astype(np.uint8)
    assert flat_background(grey) > 18 and flat_background(speckle(99, 99)) == 0
    assert (moving_part(grey) & ~tissue).sum() < 0.02 * tissue.sum()


@pytest.mark.parametrize("size", [300, 600])
def test_burned_in_text_is_static_and_the_tissue_below_moves(size):
    tissue = (speckle(size, size) // 3).astype(np.uint8)
    image, place = tissue.copy(), (size // 5, size // 2)
    cv2.putText(image, "RT AXILLA", place, cv2.FONT_HERSHEY_SIMPLEX, size / 400, 235, size // 150, cv2.LINE_AA)
    written = image > tissue + 60.0
    words = burned_in_words(image)
    assert words[written].mean() > 0.97 and words.sum() < 5 * written.sum()
    native, x0 = still_of(image)
    frames = drawn(native, x0, layers((2.0, 1.5)))
    assert np.abs(frames[-1].astype(int) - image)[written].mean() < 4
    assert (frames[-1][~words] > 180).mean() < 1e-3  # no second copy of them has moved away
    assert not burned_in_words(tissue).any() and not burned_in_words(speckle(size, size)).any()


@pytest.mark.parametrize("shape", [(33, 200), (161, 45), (8, 8), (70, 71)])
def test_videos_have_the_size_of_the_still(bundles, shape):
    image = speckle(*shape)
    for name in ("lddm", "motion_transfer", "static"):
        video = Animator.load(bundles / name).animate(image, seed=1, options=OPTIONS)[0]
        assert video.shape == (9, *shape) and np.array_equal(video[0], image)
        assert (video == image).all() == (name == "static")


@pytest.mark.parametrize("generator", ["lddm", "cinn", "pixel"])
def test_the_model_size_matches_the_pipeline(bundles, generator):
    animator, image = Animator.load(bundles / generator), speckle(50, 70)
    x0 = fit_square(image[None], 32, "pad")
    seeds = [video_seed(3, content_id(x0[0]), sample) for sample in range(2)]
    made = animator.animate(image, 2, 3, options=OPTIONS, size="model")
    assert np.array_equal(made, animator.animate_batch(np.repeat(x0, 2, 0), [-1, -1], seeds, OPTIONS))


def test_synthesised_frames_have_no_native_size(bundles):
    animator = Animator.load(bundles / "pixel")
    with pytest.raises(LddmError, match="pixel synthesises frames of 32 x 32 pixels") as caught:
        animator.animate(speckle(40, 50))
    assert "--size model" in caught.value.hint
    with pytest.raises(LddmError, match="unknown size 'huge'"):
        animator.animate(speckle(40, 50), size="huge")


@pytest.fixture
def larger(tiny_store):
    """The frames of the tiny experiment, stored at twice the size that the models read."""
    store, splits = tiny_store
    frames = np.repeat(np.repeat(store.frames, 2, axis=1), 2, axis=2)
    return replace(store, frames=frames, meta=store.meta | {"size": 64, "model_size": 32}), splits


@pytest.mark.parametrize("generator", ["lddm", "motion_transfer", "static", "reconstruction"])
def test_the_pipeline_generates_videos_of_the_stored_size(bundles, tiny_store, larger, tmp_path, generator):
    settings = SynthesisSettings(num_inference_steps=2, batch_size=2, samples={"heldout": 1, "stills": 1})
    bundle = bundles / ("lddm" if generator == "reconstruction" else generator)
    made = {}
    for name, data in (("usual", tiny_store), ("larger", larger)):
        out, motion = tmp_path / f"{name}.npy", tmp_path / f"{name}.safetensors"
        measure_store(AutoencoderSettings(width=4), data[0].at_model_size()).save(motion)
        synthesize(settings, generator, bundle, *data, 0, "heldout", 0, 1, 0, out, motion)
        made[name] = np.load(tmp_path / f"{name}.npy")
    assert made["larger"].shape == (3, 9, 64, 64)
    assert np.array_equal(made["larger"][:, 0, ::2, ::2], made["usual"][:, 0])
    small = reduced(made["larger"], 32).astype(float)
    assert np.corrcoef(small.ravel(), made["usual"].ravel())[0, 1] > 0.9  # the same z moves them
    if generator != "static":
        assert not np.array_equal(made["larger"][:, 1], made["larger"][:, 0])


def test_synthesised_frames_cannot_be_larger_in_the_pipeline(bundles, larger):
    x0 = larger[0].clip_frames(larger[0].clips)[:1, 0]
    with pytest.raises(LddmError, match="pixel synthesises frames"):
        Animator.load(bundles / "pixel").animate_batch(x0, [-1], 0, OPTIONS)
