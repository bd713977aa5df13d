"""The animator: stills -> videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lddm.data.ranges import to_float, to_uint8
from lddm.errors import LddmError
from lddm.nn.condition import SamplingOptions
from lddm.synthesis.bundle import Bundle, load_bundle, sampling_defaults
from lddm.synthesis.chain import chain_windows
from lddm.synthesis.memory import with_smaller_batch
from lddm.synthesis.seeds import content_id, video_seed
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

    def sampling(
        self,
        sampler: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        guide_by: str | None = None,
    ) -> SamplingOptions:
        """The sampling that the bundle was made for, with the given values in place of its own.

        Steps without a sampler ask for unipc: "distilled" takes one step.
        """
        own = self.about.get("sampling") or sampling_defaults(self.about.get("settings") or {})
        if steps is not None and sampler is None:
            sampler = "unipc"
        given = {"sampler": sampler, "steps": steps, "guidance": guidance, "guide_by": guide_by}
        return SamplingOptions(**own | {name: value for name, value in given.items() if value is not None})

    def animate(
        self,
        image: np.ndarray,
        samples: int = 1,
        seed: int = 0,
        label: int | str = -1,
        options: SamplingOptions | None = None,
        batch_size: int = 16,
        length: int | None = None,
    ) -> np.ndarray:
        """Sample videos of one still; `lddm animate` with the same arguments makes the same videos.

        Args:
            image: uint8 (H, W), any size; fitted to the model's square as in preprocessing, with borders.
            samples: videos.
            seed: the noise of a video depends on the seed, the content of the fitted image and the number of the sample.
            label: class of the still, by number or name; -1 = unknown.
            options: sampler, steps and guidance; None is the bundle's own (`sampling`).
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
        number, frames, name = self._label_number(label), self.about["frames"], content_id(still)
        if length is not None and length < 1:
            raise LddmError(f"length {length} is too short", "expected at least 1 frame after the still")

        def make(batch_size: int) -> np.ndarray:
            def window(x0: np.ndarray, place: int) -> np.ndarray:
                each = len(x0) // samples  # one, or the candidates of a further window
                seeds = [
                    video_seed(seed, name, sample, *((place, candidate) if place else ()))
                    for sample in range(samples)
                    for candidate in range(each)
                ]
                first = np.clip(np.rint(x0), 0, 255).astype(np.uint8)
                labels = np.full(len(x0), number)
                return self.animate_batch(first, labels, seeds, options, batch_size).astype(np.float32)

            x0 = np.repeat(still[None], samples, 0)
            return chain_windows(window, x0, length or frames, max(1, frames // OVERLAP), CANDIDATES)

        most = samples if (length or frames) <= frames else samples * CANDIDATES
        return np.rint(with_smaller_batch(make, batch_size, most)).astype(np.uint8)

    @torch.no_grad()
    def animate_batch(
        self,
        x0: np.ndarray,
        labels: np.ndarray,
        seed: int | Sequence[int],
        options: SamplingOptions | None = None,
        batch_size: int = 16,
    ) -> np.ndarray:
        """One video for each x0.

        The noise of a video depends on its seed alone, not on `batch_size` and order. (Sums in another order may still
        change a pixel by a grey level.)

        Args:
            x0: uint8 (n, S, S).
            labels: int (n,), -1 unknown.
            seed: one for each video, or one for all: then each video's own follows from it, from the content of its x0 and
                from the number of equal x0 before it.
            options: sampler, steps and guidance; None is the bundle's own (`sampling`).

        Returns:
            uint8 (n, T + 1, S, S).
        """
        seeds = _seeds_of(x0, int(seed)) if isinstance(seed, int | np.integer) else list(seed)
        if len(seeds) != len(x0):
            raise ValueError(f"expected a seed for each of {len(x0)} videos, got {len(seeds)}")
        options = options or self.sampling()
        videos = np.empty((len(x0), self.about["frames"] + 1, *x0.shape[1:]), np.uint8)
        videos[:, 0] = x0
        for start in range(0, len(x0), batch_size):
            part = slice(start, start + batch_size)
            still = to_float(torch.from_numpy(x0[part]).to(self.device))[:, None]  # (B, 1, S, S)
            label = torch.from_numpy(np.array(labels[part], dtype=np.int64)).to(self.device)
            rng = [torch.Generator().manual_seed(number) for number in seeds[part]]
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


def _seeds_of(x0: np.ndarray, seed: int) -> list[int]:
    """A seed for each of x0 uint8 (n, S, S), by content."""
    before: Counter[str] = Counter()
    seeds = []
    for image in x0:
        name = content_id(image)
        seeds.append(video_seed(seed, name, before[name]))
        before[name] += 1
    return seeds
