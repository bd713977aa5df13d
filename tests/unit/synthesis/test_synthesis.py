"""Model packages, the animator and shards."""

import json
import re
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from lddm.data.frames import fold_clips
from lddm.data.synthetic import load_synthetic
from lddm.errors import LddmError
from lddm.generators.registry import GENERATORS
from lddm.generators.sampling import SamplingOptions
from lddm.io.dicom.read import read_dicom, write_dicom
from lddm.settings import Settings
from lddm.settings.models import CinnSettings, SynthesisSettings, Training
from lddm.synthesis.animate import Animator
from lddm.synthesis.bundle import load_bundle, sampling_defaults
from lddm.synthesis.seeds import video_seed
from lddm.synthesis.synthesize import synthesize
from lddm.synthesis.train_generator import train_generator

SYNTHESIS = SynthesisSettings(num_inference_steps=2, batch_size=4, samples={"heldout": 2, "stills": 1})


def run(bundles, tiny_store, out, generator="lddm", source="heldout", shard=0, shards=1, seed=0):
    bundle = bundles / ("static" if generator == "reconstruction" else generator)
    motion = bundles / "motion.safetensors"
    return synthesize(SYNTHESIS, generator, bundle, *tiny_store, 0, source, shard, shards, seed, out, motion)


def test_every_generator_of_the_settings_is_registered_under_its_own_name():
    (allowed,) = get_args(SynthesisSettings.model_fields["generators"].annotation)
    assert set(GENERATORS) == set(get_args(allowed))
    for name, entry in GENERATORS.items():
        assert entry.model.name == name and callable(entry.fit)
        assert entry.section is None or entry.section in Settings.model_fields


def test_heavy_libraries_are_imported_only_when_used():
    code = "import sys, lddm.synthesis.synthesize, lddm.generators.static; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"diffusers", "FrEIA", "accelerate", "mlflow", "pyiqa", "torchvision"} & set(loaded)


def test_one_still_is_animated_without_tables_and_compilers():
    code = "import sys, lddm.synthesis.animate, lddm.report.strips; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"pandas", "torch._dynamo", "sympy", "scipy", "sklearn", "joblib"} & set(loaded)


def test_numpy_integers_give_the_same_seed():
    assert video_seed(np.int64(3), np.str_("a"), np.int32(1), np.int64(2)) == video_seed(3, "a", 1, 2)


@pytest.mark.parametrize("generator", ["lddm", "cinn", "gaussian", "motion_transfer", "pixel"])
def test_held_out_videos_are_animated_with_several_samples(bundles, tiny_store, tmp_path, generator):
    assert run(bundles, tiny_store, tmp_path / "s.npy", generator) == 6
    videos, table = load_synthetic([tmp_path / "s.parquet"])
    real = fold_clips(*tiny_store, 0, "test")
    assert table["clip_id"].tolist() == real["clip_id"].tolist() * 2
    assert table["sample"].tolist() == [0] * 3 + [1] * 3 and table["sample_id"].is_unique
    assert np.array_equal(videos[:3, 0], tiny_store[0].clip_frames(real)[:, 0])
    assert not np.array_equal(videos[:3], videos[3:])


def test_static_repeats_x0_and_reconstruction_follows_the_real_clip(bundles, tiny_store, tmp_path):
    for generator in ("static", "reconstruction"):
        assert run(bundles, tiny_store, tmp_path / f"{generator}.npy", generator) == 3
    static, _ = load_synthetic([tmp_path / "static.npy"])
    rebuilt, _ = load_synthetic([tmp_path / "reconstruction.npy"])
    assert (static == static[:, :1]).all()
    real = tiny_store[0].clip_frames(fold_clips(*tiny_store, 0, "test")).astype(int)
    assert abs(rebuilt - real).mean() < abs(static - real).mean()


def test_stills_keep_their_labels_and_shards_cover_all_once(bundles, tiny_store, tmp_path):
    for shard in range(5):  # more than there are stills: the last one makes nothing
        run(bundles, tiny_store, tmp_path / f"{shard}.npy", source="stills", shard=shard, shards=5)
    videos, table = load_synthetic([tmp_path / f"{shard}.parquet" for shard in range(5)])
    stills = tiny_store[0].videos.set_index("id").loc[table["x0_id"]]
    assert sorted(table["x0_id"]) == ["still-18", "still-19", "still-20", "still-21"]
    assert table["label"].tolist() == stills["label"].tolist() and table["clip_id"].isna().all()


def test_the_same_seed_gives_the_same_video_and_another_does_not(bundles, tiny_store, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(bundles, tiny_store, tmp_path / f"{name}.npy", seed=seed)
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize("generator", ["lddm", "cinn", "gaussian", "motion_transfer", "pixel"])
def test_a_video_depends_only_on_seed_x0_and_sample(bundles, tiny_store, tmp_path, generator):
    """Batch size, shards, the number of samples and the order change nothing but the last bit of a sum."""
    ways = {"one": (4, 1, 2), "batches": (1, 1, 2), "shards": (4, 2, 2), "fewer": (4, 1, 1)}
    made = {}
    for way, (batch_size, shards, samples) in ways.items():
        section = SYNTHESIS.model_copy(update={"batch_size": batch_size, "samples": {"heldout": samples}})
        for shard in range(shards):
            out = tmp_path / f"{way}-{shard}.npy"
            synthesize(section, generator, bundles / generator, *tiny_store, 0, "heldout", shard, shards, 5, out)
        videos, table = load_synthetic([tmp_path / f"{way}-{shard}.npy" for shard in range(shards)])
        made[way] = (dict(zip(table["sample_id"], videos, strict=True)), table.set_index("sample_id")["seed"].to_dict())
    videos, seeds = made["one"]
    assert len(set(seeds.values())) == len(seeds) == 6
    for other, numbers in made.values():
        assert all(seeds[name] == number for name, number in numbers.items())
        assert all(np.abs(videos[name].astype(int) - video).max() <= 1 for name, video in other.items())
    names = sorted(videos)
    assert not np.array_equal(videos[names[0]], videos[names[1]])  # two samples of one x0


def test_samples_of_a_still_do_not_depend_on_their_number_or_batch(bundles):
    animator = Animator.load(bundles / "lddm")
    image = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
    few, many = animator.animate(image, 1, 4), animator.animate(image, 3, 4, batch_size=2)
    assert np.abs(few[0].astype(int) - many[0]).max() <= 1 and not np.array_equal(many[0], many[1])
    other = animator.animate(image[::-1].copy(), 1, 4)[0]
    assert not np.array_equal(few[0] - few[0][:1], other - other[:1])
    stills = np.stack([image, image[::-1], image])
    there, back = (animator.animate_batch(order, [-1] * 3, 4) for order in (stills, stills[[1, 0, 2]]))
    assert np.abs(there[[1, 0, 2]].astype(int) - back).max() <= 1 and not np.array_equal(there[0], there[2])


def test_animator_keeps_the_size_of_an_image_and_checks_its_input(bundles):
    animator = Animator.load(bundles / "lddm")
    image = np.random.default_rng(0).integers(0, 255, (50, 70), dtype=np.uint8)
    options = SamplingOptions(num_inference_steps=2)
    videos = animator.animate(image, samples=3, seed=4, label="b", options=options)
    assert videos.shape == (3, 9, 50, 70) and videos.dtype == np.uint8
    assert animator.animate(image, 3, 4, "b", options, size="model").shape == (3, 9, 32, 32)
    assert np.array_equal(videos, animator.animate(image, samples=3, seed=4, label=1, options=options))
    for bad in (image.astype(float), image[None], image[:4]):
        with pytest.raises(LddmError, match="expected a grayscale uint8"):
            animator.animate(bad)
    with pytest.raises(LddmError, match="unknown class 'c'"):
        animator.animate(image, label="c")


def animate(bundle, image, out, *options):
    """The command as people type it."""
    command = [sys.executable, "-c", "from lddm.cli import app; app()", "animate", str(image)]
    command += ["--model", str(bundle), "--out", str(out), "--num-inference-steps", "2", *options]
    return subprocess.run(command, capture_output=True, text=True)


TOGETHER = """
import sys
from pathlib import Path
import pandas as pd
from lddm.data.frames import FrameStore
from lddm.settings.models import DiffusionSettings, DistillationSettings, Training
from lddm.synthesis.train_generator import train_generator
from lddm.synthesis.seeds import video_seed
data, parts, out = map(Path, sys.argv[1:])
training = Training(steps=2, batch_size=2, processes=2, log_every=1, val_every=2, checkpoint_every=1)
distillation = DistillationSettings(num_pairs=8, num_inference_steps=2, steps=2)
settings = DiffusionSettings(width=16, depth=1, training=training, distillation=distillation)
train_generator("lddm", settings, parts / "ae.safetensors", parts / "z.safetensors",
                FrameStore.open(data / "frames"), 0, 0, out / "state", out / "bundle", print)
"""


def test_two_processes_leave_one_complete_model_package(bundles, tiny_experiment, tmp_path):
    (tmp_path / "together.py").write_text(TOGETHER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    places = [tmp_path / "together.py", tiny_experiment, bundles, tmp_path]
    done = subprocess.run([*launch, *map(str, places)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    about = load_bundle(tmp_path / "bundle").about
    assert about["parameters"] > 1000 and about["licences"] == ["CC0"] and about["settings"]["width"] == 16
    assert "CC0" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert not (tmp_path / "state").exists()


def test_a_kill_before_the_model_package_is_written_loses_no_training(bundles, tiny_store, tmp_path, monkeypatch):
    training = Training(steps=4, batch_size=2, log_every=1, val_every=2, checkpoint_every=2)
    settings = CinnSettings(blocks=2, width=16, training=training)
    steps = []

    def work():
        train_generator(
            "cinn", settings, bundles / "ae.safetensors", bundles / "z.safetensors", tiny_store[0], 0, 0,
            tmp_path / "state", tmp_path / "bundle", lambda step, _: steps.append(step),
        )  # fmt: skip

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lddm.synthesis.train_generator.write_bundle", killed)
        with pytest.raises(KeyboardInterrupt):
            work()
    assert not (tmp_path / "bundle").exists() and steps == [1, 2, 3, 4]
    work()
    assert steps[4:] == [3, 4] and (tmp_path / "bundle/bundle.json").is_file() and not (tmp_path / "state").exists()


@pytest.mark.parametrize("generator", ["lddm", "static"])
def test_videos_of_another_length(bundles, generator):
    animator = Animator.load(bundles / generator)
    image = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
    options = SamplingOptions(num_inference_steps=2)
    short, usual, long = (animator.animate(image, 2, 3, options=options, length=n) for n in (3, None, 21))
    assert (short.shape[1], usual.shape[1], long.shape[1]) == (4, 9, 22) and long.dtype == np.uint8
    assert np.array_equal(short, usual[:, :4]) and np.array_equal(long[:, :6], usual[:, :6])
    assert np.array_equal(long, animator.animate(image, 2, 3, options=options, length=21))
    with pytest.raises(LddmError, match="at least 1 frame"):
        animator.animate(image, length=0)


def test_the_command_animates_an_image_and_marks_its_output(bundles, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "still image.png")
    done = animate(bundles / "lddm", tmp_path / "still image.png", tmp_path / "v.npz", "--samples", "2", "--label", "b")
    assert done.returncode == 0 and "synthetic" in done.stdout, done.stderr
    videos = [np.load(tmp_path / f"v-{i}.npz") for i in range(2)]
    assert all(video["frames"].shape == (9, 50, 70) and "synthetic" in str(video["comment"]) for video in videos)
    assert not np.array_equal(videos[0]["frames"], videos[1]["frames"])
    assert re.search(r"sampled 2 videos with lddm \(b\) in [0-9.]+ s", done.stdout)
    with Image.open(tmp_path / "v-strip.png") as strip:  # a line a sample
        assert strip.width > 500 and strip.height > 200


@pytest.mark.parametrize(("size", "spacing"), [("native", 0.2), ("model", 0.2 * 3)])
def test_the_command_keeps_the_spacing_of_a_dicom_still(bundles, tmp_path, size, spacing):
    write_dicom(tmp_path / "s.dcm", np.full((1, 60, 96), 90, np.uint8), 10, spacing=(0.2, 0.2))
    done = animate(bundles / "lddm", tmp_path / "s.dcm", tmp_path / "v.dcm", "--size", size)
    assert done.returncode == 0, done.stderr
    video = read_dicom(tmp_path / "v.dcm")
    assert video.spacing == pytest.approx((spacing, spacing))
    assert video.frames.shape == ((9, 60, 96) if size == "native" else (9, 32, 32))


def test_the_command_adds_the_baselines(bundles, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)).save(tmp_path / "s.png")
    done = animate(bundles / "lddm", tmp_path / "s.png", tmp_path / "v.gif", "--compare", "--length", "5")
    assert done.returncode == 0, done.stderr
    count = len(list(bundles.glob("*/bundle.json")))
    assert "pixel" in done.stdout and "native size is not supported" in done.stdout
    with Image.open(tmp_path / "v-compare.webp") as film, Image.open(tmp_path / "v-compare.png") as strip:
        assert film.n_frames == 6 and film.width == 164 * count - 4 and strip.width > 500


def test_the_command_and_the_animator_make_the_same_videos(bundles, tmp_path):
    """Without options both sample as the bundle says: one step, with guidance."""
    picture = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "s.png")
    animator = Animator.load(bundles / "lddm")
    assert animator.about["sampling"] == {
        "sampler": "distilled",
        "num_inference_steps": 10,
        "guidance_scale": 2.0,
        "guidance_target": "label",
    }
    made = {}
    for name, steps in (("usual", 0), ("two", 2)):
        options = ("--num-inference-steps", str(steps), "--seed", "3", "--label", "b")
        done = animate(bundles / "lddm", tmp_path / "s.png", tmp_path / f"{name}.npz", *options)
        assert done.returncode == 0, done.stderr
        made[name] = np.load(tmp_path / f"{name}.npz")["frames"]
    assert np.array_equal(made["usual"], animator.animate(picture, 1, 3, "b")[0])
    assert np.array_equal(
        made["two"], animator.animate(picture, 1, 3, "b", animator.sampling(num_inference_steps=2))[0]
    )
    assert not np.array_equal(made["usual"], made["two"])


def test_a_model_package_stores_its_sampling_options(bundles):
    own = {name: Animator.load(bundles / name).sampling() for name in ("lddm", "static")}
    assert own == {"lddm": SamplingOptions("distilled", 10, 2.0, "label"), "static": SamplingOptions("unipc", 10, 2.0)}
    lddm = Animator.load(bundles / "lddm")
    assert lddm.fastest_sampler == "distilled"
    assert lddm.sampling(num_inference_steps=4) == SamplingOptions("unipc", 4, 2.0)
    assert lddm.sampling(guidance_scale=0.0) == SamplingOptions("distilled", 10, 0.0)
    weak = sampling_defaults({"distillation": {"max_guidance_scale": 1.5, "guidance_target": "image+label"}})
    assert (weak["guidance_scale"], weak["guidance_target"]) == (
        1.5,
        "image+label",
    )  # within what the student was taught


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ("absent.png", [], "does not exist"),
        ("text.png", [], "cannot be decoded"),
        ("still.png", ["--label", "c"], "unknown class 'c'"),
        ("still.png", ["--out", "video.xyz"], "cannot write '.xyz'"),
        ("still.png", ["--size", "huge"], "unknown size 'huge'"),
        ("still.png", ["--sampler", "euler"], "unknown sampler 'euler'"),
        ("still.png", ["--sampler", "distilled"], "takes one step, not 2"),
        (
            "still.png",
            ["--sampler", "distilled", "--num-inference-steps", "0", "--guidance-scale", "9"],
            "distilled for 1 to 4",
        ),
    ],
)
def test_the_command_reports_each_mistake_as_one_error(bundles, tmp_path, image, options, message):
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.full((40, 40), 99, np.uint8)).save(tmp_path / "still.png")
    done = animate(bundles / "lddm", tmp_path / image, tmp_path / "v.gif", *options)
    assert done.returncode == 1 and message in done.stderr and "Hint:" in done.stderr
    assert "Traceback" not in done.stderr


def test_model_packages_are_checked(bundles, tmp_path):
    about = json.loads((bundles / "lddm" / "bundle.json").read_text())
    assert about["generator"] == "lddm" and about["classes"] == ["a", "b"]
    assert "Not for" in (bundles / "lddm" / "MODEL_CARD.md").read_text()
    with pytest.raises(LddmError, match="not a model package"):
        load_bundle(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (bundles / "lddm").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "generator.safetensors").write_bytes(b"nonsense")
    with pytest.raises(LddmError, match="generator.safetensors is missing or not what"):
        load_bundle(broken)
