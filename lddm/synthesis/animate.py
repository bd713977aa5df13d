"""The animator: stills in, videos out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lddm.data.ranges import to_float, to_uint8
from lddm.errors import LddmError
from lddm.nn.condition import SamplingOptions
from lddm.synthesis.bundle import Bundle, load_bundle
from lddm.synthesis.chain import chain_windows
from lddm.synthesis.memory import with_smaller_batch
from lddm.synthesis.seeds import shard_seed
from lddm.training.parallel import pick_device

OVERLAP, CANDIDATES = 4, 8  # a quarter of a window is shared; of eight continuations the best is taken


class Animator:
    """Animates stills with a trained bundle.

    >>> animator = Animator.load("results/phantom/fold-0/generators/lddm/bundle")
    >>> videos = animator.animate(image, samples=4, seed=1)
    """

    def __init__(self, bundle: Bundle, device: torch.device | None = None):
        self.device = device or pick_device()
        self.about = bundle.about
        self.autoencoder = bundle.autoencoder.to(self.device)
        self.generator = bundle.generator.to(self.device)

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | None = None) -> Animator:
        """Load a bundle; see `lddm.synthesis.bundle.load_bundle` for the errors."""
        return cls(load_bundle(folder), device)

    @property
    def size(self) -> int:
        """Height and width S of its frames in pixels."""
        return self.about["size"]

    @property
    def fps(self) -> float:
        """Frame rate in Hz."""
        return self.about["fps"]

    @property
    def fastest_sampler(self) -> str:
        """For `SamplingOptions`: "distilled" if the generator was distilled, else "unipc"."""
        return "distilled" if getattr(self.generator, "student", None) is not None else "unipc"

    def animate(
        self,
        image: np.ndarray,
        samples: int = 1,
        seed: int = 0,
        label: int | str = -1,
        options: SamplingOptions = SamplingOptions(),  # noqa: B008 (frozen)
        batch_size: int = 16,
        length: int | None = None,
    ) -> np.ndarray:
        """Draw videos of one still.

        Args:
            image: uint8 (H, W), any size; fitted to the model's square as in preprocessing, with borders.
            samples: videos.
            seed: the same seed gives the same videos.
            label: class of the still, by number or name; -1 = unknown.
            options: sampler, steps, guidance.
            batch_size: videos at a time.
            length: frames after the still, at least 1; None is T, the clip length of training. Longer videos are
                chained from overlapping windows (`lddm.synthesis.chain`).

        Returns:
            uint8 (samples, length + 1, S, S); frame 0 is the still.

        Raises:
            LddmError: not a grayscale uint8 image, an unknown class, a sampler that the generator was not distilled for, or
                too little memory for half a batch.
        """
        from lddm.data.preprocess import fit_square

        if image.ndim != 2 or image.dtype != np.uint8 or min(image.shape) < 8:
            raise LddmError(
                f"expected a grayscale uint8 image of at least 8 pixels a side, got {image.dtype} {image.shape}",
                "read it with lddm.data.video_io.decode_image",
            )
        still = fit_square(image[None], self.size, self.about.get("fit", "pad"))[0]
        number, frames = self._label_number(label), self.about["frames"]
        if length is not None and length < 1:
            raise LddmError(f"length {length} is too short", "expected at least 1 frame after the still")

        def make(batch_size: int) -> np.ndarray:
            def window(x0: np.ndarray, place: int) -> np.ndarray:
                key = seed if place == 0 else shard_seed(seed, "window", place)
                first = np.clip(np.rint(x0), 0, 255).astype(np.uint8)
                return self.animate_batch(first, np.full(len(x0), number), key, options, batch_size).astype(np.float32)

            x0 = np.repeat(still[None], samples, 0)
            return chain_windows(window, x0, length or frames, max(1, frames // OVERLAP), CANDIDATES)

        most = samples if (length or frames) <= frames else samples * CANDIDATES
        return np.rint(with_smaller_batch(make, batch_size, most)).astype(np.uint8)

    @torch.no_grad()
    def animate_batch(
        self, x0: np.ndarray, labels: np.ndarray, seed: int, options: SamplingOptions, batch_size: int = 16
    ) -> np.ndarray:
        """One video for each x0.

        The noise of a batch depends on the seed and the batch's place, so results depend on `batch_size` and order.

        Args:
            x0: uint8 (n, S, S).
            labels: int (n,), -1 unknown.

        Returns:
            uint8 (n, T + 1, S, S).
        """
        videos = np.empty((len(x0), self.about["frames"] + 1, *x0.shape[1:]), np.uint8)
        videos[:, 0] = x0
        for number, start in enumerate(range(0, len(x0), batch_size)):
            part = slice(start, start + batch_size)
            still = to_float(torch.from_numpy(x0[part]).to(self.device))[:, None]  # (B, 1, S, S)
            label = torch.from_numpy(np.array(labels[part], dtype=np.int64)).to(self.device)
            rng = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
            frames = self.generator.video(still, label, rng, options, self._decode)
            videos[part, 1:] = to_uint8(frames)[:, 0].cpu().numpy()
        return videos

    def _decode(self, x0: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.autoencoder.decode(x0, z).frames

    def _label_number(self, label: int | str) -> int:
        classes = self.about["classes"]
        if isinstance(label, str):
            if label not in classes:
                raise LddmError(f"unknown class '{label}'", f"expected one of {', '.join(classes)}")
            return classes.index(label)
        if not -1 <= label < len(classes):
            raise LddmError(f"label {label} is out of range", f"expected -1 (unknown) to {len(classes) - 1}")
        return label
