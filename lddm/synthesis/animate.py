"""The animator, which generates videos of stills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from lddm.autoencoder.decoder import Layers, WarpDecoder
from lddm.data.ranges import to_float, to_uint8
from lddm.data.square import SquareFit, fit_square, reduced
from lddm.generators.sampling import SamplingOptions
from lddm.generators.static import Static
from lddm.synthesis.bundle import Bundle, load_bundle, sampling_defaults
from lddm.synthesis.chain import extend_autoregressively
from lddm.synthesis.conditions import Conditions
from lddm.synthesis.long_motion import extend
from lddm.synthesis.memory import BatchSize, with_smaller_batch
from lddm.synthesis.model_store import DEFAULT, find_model
from lddm.synthesis.native import NativeStill
from lddm.synthesis.out_of_distribution import Comparison, compare
from lddm.synthesis.request import Size, check_request, no_native_size
from lddm.synthesis.seeds import content_id, seeds_of, video_seed
from lddm.task import Task
from lddm.training.parallel import pick_device

OVERLAP, CANDIDATES = 4, 8  # windows overlap by a quarter; the best of eight continuations is kept


class Animator:
    """Animates stills with a trained model.

    Examples:
        >>> animator = Animator.load()  # the model shipped with lddm; or the folder of a bundle
        >>> videos = animator.animate(image, samples=4, seed=1)
    """

    def __init__(self, bundle: Bundle, device: torch.device | None = None):
        self.device = device or pick_device()
        self.about, self.task = bundle.about, Task.of_meta(bundle.about)
        self.conditions = Conditions(bundle.about, self.device)
        self.autoencoder = bundle.autoencoder.to(self.device)
        self.generator = bundle.generator.to(self.device)

    @classmethod
    def load(cls, model: str | Path = DEFAULT, device: torch.device | None = None) -> Animator:
        """Load a model by folder or name. Arguments and errors as `lddm.synthesis.model_store.find_model`."""
        return cls(load_bundle(find_model(model)), device)

    @property
    def size(self) -> int:
        """Height and width S of the frames of the model, in pixels."""
        return self.about["size"]

    @property
    def fps(self) -> float:
        """Frame rate in Hz."""
        return self.about["fps"]

    @property
    def fastest_sampler(self) -> str:
        """Fastest sampler: "distilled" if the generator was distilled, else "unipc"."""
        return "distilled" if getattr(self.generator, "student", None) is not None else "unipc"

    @property
    def moves_still(self) -> bool:
        """Whether videos are made by warping the still: a latent generator with a decoder that warps x0."""
        return isinstance(self.autoencoder.decoder, WarpDecoder) and hasattr(self.generator, "sample")

    @property
    def has_native_size(self) -> bool:
        """Whether `animate` supports videos at the native size of the still."""
        return self.moves_still or isinstance(self.generator, Static)

    def pixel_scale(self, still: tuple[int, ...], video: tuple[int, ...]) -> tuple[float, float]:
        """Height and width of one pixel of a video (..., H, W), in pixels of the still; 1 and 1 at native size."""
        if still[-2:] == video[-2:]:
            return 1.0, 1.0
        return SquareFit.of(still, self.size, self.about.get("fit", "pad")).scale

    def compare(self, image: np.ndarray) -> Comparison | None:
        """Compare a still uint8 (H, W) with the training stills; None if the model stores no statistics of them."""
        return compare(fit_square(image[None], self.size, self.about.get("fit", "pad"))[0], self.about)

    def sampling(
        self,
        sampler: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_target: str | None = None,
    ) -> SamplingOptions:
        """Default sampling options of the model, with the given values overriding them.

        If only the number of steps is given, the sampler is "unipc", since "distilled" takes one step.
        """
        own = self.about.get("sampling") or sampling_defaults(self.about.get("settings") or {})
        if num_inference_steps is not None and sampler is None:
            sampler = "unipc"
        given = {
            "sampler": sampler,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "guidance_target": guidance_target,
        }
        return SamplingOptions(**own | {name: value for name, value in given.items() if value is not None})

    def animate(
        self,
        image: np.ndarray,
        samples: int = 1,
        seed: int = 0,
        label: float | str | None = None,
        options: SamplingOptions | None = None,
        batch_size: int = 16,
        length: int | None = None,
        size: Size = "native",
        on_frame: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Sample videos of one still; equivalent to `lddm animate` with the same arguments.

        The input of the model is the still, fitted to the model's square as in preprocessing. At native size, the sampled
        motion is upsampled and applied to the original still (`lddm.synthesis.native`).

        Args:
            image: uint8 (H, W), at least 8 x 8 pixels.
            samples: number of videos.
            seed: with the content of the fitted image and the sample index, it determines the noise of a video.
            label: class of the still, by index or name, or its target; None = unknown.
            options: sampler, steps and guidance; None = defaults of the model (`sampling`).
            batch_size: videos per batch.
            length: number of frames after the still, at least 1; None = T, the clip length in training. Longer videos
                continue the motion over overlapping windows (`lddm.synthesis.long_motion`).
            size: "native" for the size of the still, "model" for the square of the model.
            on_frame: progress callback, called with the number of finished frames and of all frames; not called where a
                batch is generated at once.

        Returns:
            uint8 (samples, length + 1, H, W), or (samples, length + 1, S, S) for "model"; frame 0 is the still.

        Raises:
            LddmError: not a grayscale uint8 image, unknown class or size, target out of range, "native" for a model without
                motion fields, sampler "distilled" for a generator without student, or too little memory for one video.
        """
        check_request(image, length, size)
        if size == "native":
            self._check_native()
        window = self.about["frames"]
        frames, options, known = length or window, options or self.sampling(), self.task.check(label)
        how = self.about.get("fit", "pad")
        still = fit_square(image[None], self.size, how)[0]
        shown, name = image if size == "native" else still, content_id(still)
        if isinstance(self.generator, Static):
            return np.broadcast_to(shown, (samples, frames + 1, *shown.shape)).copy()
        overlap = max(1, window // OVERLAP)

        def seeds(sample: int, place: int, count: int) -> list[int]:
            """Seeds of the first window (index 0), or of the candidates for a further window."""
            return [video_seed(seed, name, sample, *((place, i) if place else ())) for i in range(count)]

        asked = self.conditions.of([known] * samples, [seeds(sample, 0, 1)[0] for sample in range(samples)])

        def moved(batch_size: int) -> np.ndarray:
            """Frames obtained by warping the still."""
            x0 = self._networks_form(still[None])
            fit = SquareFit.of(image.shape, self.size, how)
            native = NativeStill(image, fit, self.device) if size == "native" else None
            videos = np.empty((samples, frames + 1, *shown.shape), np.uint8)
            videos[:, 0] = shown
            for sample in range(samples):

                def candidates(frame: torch.Tensor, place: int, sample: int = sample) -> Layers:
                    return self._layers(frame, asked[sample], seeds(sample, place, CANDIDATES), options, batch_size)

                first = self._layers(x0, asked[sample], seeds(sample, 0, 1), options, batch_size)
                layers = extend(self._decoder, x0, first, candidates, frames, overlap)
                made: Iterable[np.ndarray] = native.frames(layers) if native else self._compose(x0, layers)
                for number, frame in enumerate(made, 1):
                    videos[sample, number] = frame
                    if on_frame is not None:
                        on_frame(sample * frames + number, samples * frames)
            return videos

        def synthesised(batch_size: int) -> np.ndarray:
            """Frames of a model that synthesises pixels, or of a single window."""

            def draw(x0: np.ndarray, place: int) -> np.ndarray:
                numbers = [one for sample in range(samples) for one in seeds(sample, place, len(x0) // samples)]
                first, each = np.clip(np.rint(x0), 0, 255).astype(np.uint8), np.repeat(asked, len(x0) // samples)
                return self._animate(first, each, numbers, options, batch_size).astype(np.float32)

            x0 = np.repeat(still[None], samples, 0)
            return np.rint(extend_autoregressively(draw, x0, frames, overlap, CANDIDATES)).astype(np.uint8)

        if self.moves_still and (size == "native" or frames > window):
            return with_smaller_batch(moved, batch_size, CANDIDATES if frames > window else 1)
        return with_smaller_batch(synthesised, batch_size, samples * CANDIDATES if frames > window else samples)

    @torch.no_grad()
    def _layers(
        self, x0: torch.Tensor, asked: float, seeds: list[int], options: SamplingOptions, batch_size: int
    ) -> Layers:
        """Sample layers for one x0 float (1, 1, S, S), one sample per seed."""
        parts = []
        for start in range(0, len(seeds), batch_size):
            rng = [torch.Generator().manual_seed(number) for number in seeds[start : start + batch_size]]
            frames = x0.expand(len(rng), -1, -1, -1)
            condition = self.conditions.tensor(np.full(len(rng), asked))
            parts.append(self._decoder.layers(frames, self.generator.sample(frames, condition, rng, options)))
        return Layers(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Layers)))

    @torch.no_grad()
    def _compose(self, x0: torch.Tensor, layers: Layers) -> np.ndarray:
        """Compose frames uint8 (T, S, S) from layers of batch size 1."""
        return to_uint8(self._decoder.compose(x0, layers).frames)[0, 0].cpu().numpy()

    def _networks_form(self, images: np.ndarray) -> torch.Tensor:
        """uint8 (B, S, S) -> float (B, 1, S, S) on the device."""
        return to_float(torch.from_numpy(images).to(self.device))[:, None]

    @property
    def _decoder(self) -> WarpDecoder:
        decoder = self.autoencoder.decoder
        assert isinstance(decoder, WarpDecoder)
        return decoder

    def animate_batch(
        self,
        x0: np.ndarray,
        labels: np.ndarray,
        seed: int | Sequence[int],
        options: SamplingOptions | None = None,
        batch_size: int | BatchSize = 16,
    ) -> np.ndarray:
        """Generate one video per x0.

        The noise of a video depends only on its seed, not on `batch_size` or order. (Floating-point summation order may
        still change a pixel by one grey level.)

        Args:
            x0: uint8 (n, S, S); or (n, k S, k S), downsampled for the model, with the motion applied at full size.
            labels: class indices int (n,), -1 = unknown; or targets float (n,), NaN = unknown.
            seed: one per video; or a single one, from which the seed of each video is derived with the content of its x0
                and the number of identical x0 before it.
            options, batch_size: as in `animate`; on a GPU the batch size grows (`BatchSize`).

        Returns:
            uint8 (n, T + 1, ...) with the size of x0.

        Raises:
            LddmError: x0 larger than S for a model without motion fields, or too little memory for one video.
        """
        seeds = seeds_of(x0, int(seed)) if isinstance(seed, int | np.integer) else list(seed)
        if len(seeds) != len(x0):
            raise ValueError(f"expected one seed per video for {len(x0)} videos, got {len(seeds)}")
        return self._animate(x0, self.conditions.of(labels, seeds), seeds, options or self.sampling(), batch_size)

    @torch.no_grad()
    def _animate(
        self, x0: np.ndarray, asked: np.ndarray, seeds: list[int], options: SamplingOptions, sizes: int | BatchSize
    ) -> np.ndarray:
        """As `animate_batch`, for generator conditions (n,) instead of labels."""
        larger, static = x0.shape[-1] != self.size, isinstance(self.generator, Static)
        if larger:
            self._check_native()
        videos = np.empty((len(x0), self.about["frames"] + 1, *x0.shape[1:]), np.uint8)
        videos[:, 0] = x0

        def make(part: slice) -> None:
            still = self._networks_form(x0[part] if static else reduced(x0[part], self.size))
            condition = self.conditions.tensor(asked[part])
            rng = [torch.Generator().manual_seed(number) for number in seeds[part]]
            if larger and not static:
                z = self.generator.sample(still, condition, rng, options)
                videos[part, 1:] = self.move(x0[part], still, self._decoder.layers(still, z))
            else:
                frames = self.generator.video(still, condition, rng, options, self.autoencoder.decoding(x0[part]))
                videos[part, 1:] = to_uint8(frames)[:, 0].cpu().numpy()

        (BatchSize(sizes, self.device) if isinstance(sizes, int) else sizes).each(len(x0), make)
        return videos

    def move(self, images: np.ndarray, x0: torch.Tensor, layers: Layers) -> np.ndarray:
        """Frames 1..T uint8 (n, T, k S, k S): layers of x0 float (n, 1, S, S) applied to stills uint8 (n, k S, k S)."""
        fit = SquareFit.of(images.shape, self.size, "pad")
        stills = (NativeStill(image, fit, self.device) for image in images)
        return np.stack([list(s.frames(layers.one(i))) for i, s in enumerate(stills)])

    def _check_native(self) -> None:
        if not self.has_native_size:
            raise no_native_size(self.about["generator"], self.size)
