"""Synthesis of one shard of videos: first frames, samples and seeds."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lddm.autoencoder.clips import ClipDataset
from lddm.autoencoder.decoder import WarpDecoder
from lddm.autoencoder.measured import MeasuredMotion
from lddm.data.frames import FrameStore, fold_clips, fold_stills
from lddm.data.ranges import to_float, to_uint8
from lddm.data.square import reduced
from lddm.data.synthetic import save_synthetic
from lddm.generators.sampling import SamplingOptions
from lddm.motion.field_of_view import view_of_spans, view_spans
from lddm.settings.models import SynthesisSettings
from lddm.synthesis.animate import Animator
from lddm.synthesis.memory import BatchSize
from lddm.synthesis.seeds import video_seed
from lddm.task import Task
from lddm.training.device import to_device

logger = logging.getLogger(__name__)


def first_frames(store: FrameStore, splits: pd.DataFrame, fold: int, source: str) -> tuple[pd.DataFrame, np.ndarray]:
    """First frames to animate: of the clips of held-out (test) videos, or the labelled stills of other patients.

    Returns:
        Table (x0_id, clip_id, label, class_name, patient_id, cluster), and x0 uint8 (n, S, S) in the same order.
    """
    if source == "heldout":
        clips = fold_clips(store, splits, fold, "test")
        table = clips.assign(x0_id=clips["id"])
        x0 = store.frames[clips["first_frame"].to_numpy(dtype=np.int64)]
    else:
        stills = fold_stills(store, splits, fold)
        table = stills.assign(x0_id=stills["id"], clip_id=None)
        x0 = store.still_frames(stills)
    task = Task.of_meta(store.meta)
    table = table.assign(class_name=[task.show(label) for label in table["label"]])
    columns = ["x0_id", "clip_id", "label", "class_name", "patient_id", "cluster"]
    return table[columns].reset_index(drop=True), np.asarray(x0)


def synthesize(
    settings: SynthesisSettings,
    generator: str,
    bundle: Path,
    store: FrameStore,
    splits: pd.DataFrame,
    fold: int,
    source: str,
    shard: int,
    shards: int,
    seed: int,
    out: Path,
    motion: Path | None = None,
) -> int:
    """Generate the videos of one shard and write them with their manifest.

    The noise of a video depends only on the seed, its first frame (clip or still) and the sample index, and not on shards,
    batches or order. The manifest records the seed of each video. Held-out first frames and stills are animated with the
    true label of their patient (docs/method/evaluation.md, "Scores").

    Args:
        generator: name of a generator, or "reconstruction": decode q(z | x) of the real held-out clip.
        bundle: model package of the generator (for "reconstruction": of any generator of the fold).
        source: "heldout" or "stills".
        motion: measured motion of the clips, for "reconstruction" with a decoder that warps x0.
        shard, shards: this shard takes the first frames shard, shard + shards, ...

    Returns:
        Number of videos.
    """
    table, x0 = first_frames(store, splits, fold, source)
    table, x0 = table.iloc[shard::shards], x0[shard::shards]
    wanted = {str(key): count for key, count in settings.samples.items()}
    samples = 1 if generator in ("reconstruction", "static") else wanted[source]  # these two are deterministic
    animator = Animator.load(bundle)
    measured = MeasuredMotion.load(motion) if motion else None
    options = SamplingOptions(
        settings.sampler, settings.num_inference_steps, settings.guidance_scale, settings.guidance_target
    )
    names = table["clip_id"].where(table["clip_id"].notna(), table["x0_id"]).tolist()
    seeds = [[video_seed(seed, name, sample) for name in names] for sample in range(samples)]

    sizes, made = BatchSize(settings.batch_size, animator.device), []
    for sample, numbers in enumerate(seeds):
        if generator == "reconstruction":
            clips = fold_clips(store, splits, fold, "test").iloc[shard::shards]
            made.append(reconstruct(animator, store, clips, sizes, measured))
        else:
            made.append(animator.animate_batch(x0, table["label"].to_numpy(), numbers, options, sizes))
        logger.info("%s %s: sample %d of %d, %d videos", generator, source, sample + 1, samples, len(table))
    videos = np.concatenate(made)  # uint8 (samples * n, T + 1, S, S)
    manifests = [table.assign(sample=sample, seed=numbers) for sample, numbers in enumerate(seeds)]
    manifest = pd.concat(manifests, ignore_index=True).assign(generator=generator, source=source)
    manifest["sample_id"] = [f"{generator}/{n}#{s}" for n, s in zip(names * samples, manifest["sample"], strict=True)]
    save_synthetic(out, videos, manifest)
    return len(manifest)


@torch.no_grad()
def reconstruct(
    animator: Animator,
    store: FrameStore,
    clips: pd.DataFrame,
    sizes: BatchSize,
    measured: MeasuredMotion | None,
    stills: np.ndarray | None = None,
) -> np.ndarray:
    """Decode the posterior mean of real clips: uint8 (n, T + 1, S, S). An upper bound for all generators.

    Args:
        stills: uint8 (n, S, S), animated with the latents instead of the clips' own first frames.
    """
    model = animator.autoencoder
    small = store.at_model_size()
    dataset = ClipDataset(small, clips, model.checked(measured, small), animator.device)
    videos = store.clip_frames(clips).copy()
    if stills is not None:
        videos[:, 0] = stills

    def make(part: slice) -> None:
        video, motion, fov_mask = dataset.read(np.arange(part.start, part.stop))
        x0, z = video[:, :, 0], model.encode(video, motion).mean
        if stills is not None:
            seen = reduced(videos[part, 0], animator.size)
            x0 = to_float(torch.from_numpy(seen).to(animator.device))[:, None]
            if isinstance(model.decoder, WarpDecoder):
                fov_mask = view_of_spans(to_device(view_spans(seen), animator.device), animator.size)
        if store.size != animator.size and isinstance(model.decoder, WarpDecoder):
            videos[part, 1:] = animator.move(videos[part, 0], x0, model.decoder.layers(x0, z))
        else:
            videos[part, 1:] = to_uint8(model.decode(x0, z, fov_mask).frames)[:, 0].cpu().numpy()

    sizes.each(len(clips), make)
    return videos
