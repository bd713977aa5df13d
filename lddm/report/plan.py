"""Files of results/<experiment> planned by the current settings; all others are leftovers of earlier settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lddm.settings import Settings, planned
from lddm.settings.build import sweep_points

# Outputs of every fold, independent of the settings, and the folder of the fold itself.
ALWAYS = {"", "autoencoder", "latents.safetensors", "domain_network", "state"}
NUMBER = re.compile(r"-(\d+)$")


@dataclass(frozen=True)
class Plan:
    """Planned folds, generators and trainings of one experiment.

    Attributes:
        settings: the whole config.
    """

    settings: Settings

    @property
    def folds(self) -> range:
        """Folds that are run."""
        return range(self.settings.split.folds_to_run)

    @property
    def scored(self) -> list[str]:
        """Names of scored video sets: real videos, reconstructions (autoencoder alone), and the generators."""
        return planned.scored(self.settings)

    @property
    def shards(self) -> range:
        """Parts of the videos of one generator and source."""
        return range(self.settings.synthesis.shards)

    @property
    def seeds(self) -> range:
        """Training seeds of each network and regime."""
        return range(self.settings.classification.seeds)

    def sources(self, generator: str) -> list[str]:
        """Sources of the first frames that a generator animates."""
        samples = self.settings.synthesis.samples
        made: list[str] = [source for source, count in samples.items() if count > 0]
        return made if generator in self.settings.synthesis.generators else [s for s in made if s == "heldout"]

    def makes(self, name: str) -> bool:
        """Whether a file or folder is an output of the current settings.

        Args:
            name: path relative to results/<experiment>, with forward slashes.
        """
        parts = PurePosixPath(name).parts
        if not parts or not parts[0].startswith("fold-"):
            return name != "data/motion.safetensors" or self._measures_motion
        if _number(parts[0]) not in self.folds:
            return False
        kind, rest = (parts[1], parts[2:]) if len(parts) > 1 else ("", ())
        check = {
            "synthetic": self._makes_videos,
            "generators": self._makes_generator,
            "quality": self._makes_scores,
            "classification": self._makes_training,
            "sweep": self._makes_sweep,
            "pseudo_labels.parquet": lambda _: self.settings.pseudo_labels.classifier is not None,
            "attribute.json": lambda _: self.settings.condition.attribute is not None,
        }.get(kind)
        return kind in ALWAYS if check is None else check(rest)

    @property
    def _measures_motion(self) -> bool:
        return self.settings.autoencoder.decoder == "warp" or self.settings.condition.attribute == "divergence"

    def _makes_videos(self, rest: tuple[str, ...]) -> bool:
        generator, source, shard = (*rest, None, None, None)[:3]
        return (
            (generator is None or generator in self.scored[1:])
            and (source is None or source in self.sources(str(generator)))
            and (shard is None or _number(shard) in self.shards)
        )

    def _makes_generator(self, rest: tuple[str, ...]) -> bool:
        # `reconstruction` uses the model package of `static`, which needs no training.
        return not rest or rest[0] in {"static", *self.settings.synthesis.generators}

    def _makes_scores(self, rest: tuple[str, ...]) -> bool:
        return not rest or PurePosixPath(rest[0]).stem.removesuffix("_copies") in self.scored

    def _makes_training(self, rest: tuple[str, ...]) -> bool:
        return _trained(rest, self.settings.classification.cells()) and self._makes_seed(rest[2:])

    def _makes_sweep(self, rest: tuple[str, ...]) -> bool:
        sweep, points = self.settings.sweep, sweep_points(self.settings)
        cells: list[tuple[str, str]] = (
            [(name, regime) for name in sweep.classifiers for regime in sweep.regimes] if points else []
        )
        return _trained(rest, cells) and (len(rest) < 3 or rest[2] in points) and self._makes_seed(rest[3:])

    def _makes_seed(self, rest: tuple[str, ...]) -> bool:
        number = _number(rest[0]) if rest else None
        return number is None or number in self.seeds


def _trained(rest: tuple[str, ...], cells: Sequence[tuple[str, str]]) -> bool:
    """Whether a (possibly partial) path <classifier>/<regime>/... belongs to one of the (classifier, regime) pairs."""
    return not rest or any(cell[: len(rest[:2])] == rest[:2] for cell in cells)


def _number(name: str) -> int | None:
    """The number at the end of a name such as fold-1 or shard-0.parquet."""
    found = NUMBER.search(PurePosixPath(name).stem)
    return int(found[1]) if found else None
