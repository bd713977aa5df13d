"""Coverage of intervals and type I error of tests, in simulated studies with a known effect.

    python -m benchmarks.coverage [--studies 2000] [--resamples 1000]

Prints the table of docs/results/statistics.md: for each design, the coverage of the 95 % interval of the difference of two
AUCs, and the rejection rate of a true null hypothesis at 0.05.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.progress import track
from scipy.stats import norm

from lddm.statistics.auc import weighted_auc
from lddm.statistics.estimate import Estimate, estimate
from lddm.statistics.p_values import bootstrap_p_value, holm


@dataclass(frozen=True)
class Design:
    """Simulated comparison of two regimes. Spreads are standard deviations of the class separation.

    Attributes:
        patients: patients per class.
        videos: videos per patient.
        by_training, by_seed, by_run: spread of the gain between trainings of the generator, seeds and single runs.
        gain: additional class separation under the second regime.
    """

    name: str
    patients: int = 60
    videos: int = 1
    seeds: int = 3
    trainings: int = 1
    by_training: float = 0.0
    by_seed: float = 0.25
    by_run: float = 0.25
    gain: float = 0.4


DESIGNS = (
    Design("3 seeds"),
    Design("3 seeds, no variance between them", by_seed=0.0, by_run=0.0),
    Design("5 seeds", seeds=5),
    Design("10 seeds with large variance", seeds=10, by_seed=0.5, by_run=0.5),
    Design("3 seeds, 3 videos per patient", videos=3),
    Design("3 seeds, 12 patients per class", patients=12),
    Design("3 seeds, 300 patients per class", patients=300),
    Design("3 trainings, 3 seeds", trainings=3, by_training=0.25),
    Design("3 trainings without variance, 3 seeds", trainings=3),
    Design("3 trainings with large variance, 3 seeds", trainings=3, by_training=0.6),
    Design("3 trainings, 5 seeds", trainings=3, seeds=5, by_training=0.25),
    Design("5 trainings, 3 seeds", trainings=5, by_training=0.25),
    Design("no difference, 3 trainings, 3 seeds", trainings=3, by_training=0.25, gain=0.0),
)
SEPARATION = 0.9  # separation of the classes, in the unit of the spread below
BY_PATIENT, BY_VIDEO = 0.8, 0.6  # spread of the patient effect (shared by all runs) and of each prediction


def truth(design: Design) -> float:
    """Expected difference of the AUCs over the population of patients, trainings and seeds."""
    noise = 2 * (BY_PATIENT**2 + BY_VIDEO**2)
    spread = design.by_training**2 + design.by_seed**2 + design.by_run**2
    second = norm.cdf((SEPARATION + design.gain) / np.sqrt(noise + spread))
    first = norm.cdf(SEPARATION / np.sqrt(noise + design.by_seed**2 + design.by_run**2))
    return float(second - first)


def study(design: Design, resamples: int, rng: np.random.Generator) -> Estimate:
    """Simulate one study: second regime minus first regime, on the same patients."""
    labels = np.repeat([0, 1], design.patients * design.videos)
    patients = np.arange(len(labels)) // design.videos
    hard = np.repeat(BY_PATIENT * rng.normal(size=2 * design.patients), design.videos)
    shape = (design.trainings, design.seeds)
    seeds = [design.by_seed * rng.normal(size=(1, design.seeds)) for _ in range(2)]
    # The first regime has no generator: its runs do not depend on the training of the generator.
    first = np.broadcast_to(SEPARATION + seeds[0] + design.by_run * rng.normal(size=(1, design.seeds)), shape)
    noise = np.broadcast_to(rng.normal(size=(1, design.seeds, len(labels))), (*shape, len(labels)))
    second = SEPARATION + design.gain + design.by_training * rng.normal(size=(design.trainings, 1)) + seeds[1]
    second = second + design.by_run * rng.normal(size=shape)
    scores = [
        separation[..., None] * labels + hard + BY_VIDEO * own
        for separation, own in ((first, noise), (second, rng.normal(size=(*shape, len(labels)))))
    ]
    seed = int(rng.integers(2**31))

    def one(values: np.ndarray) -> Estimate:
        def auc(weights: np.ndarray, training: int, run: int) -> np.ndarray:
            return weighted_auc(labels == 1, values[training, run], weights.astype(float))

        return estimate(auc, patients, labels, design.seeds, design.trainings, resamples, seed)

    return one(scores[1]).minus(one(scores[0]))


def measure(design: Design, studies: int, resamples: int, seed: int = 0) -> dict[str, float]:
    """Coverage and mean width of the 95 % interval, and rejection rate of true nulls at 0.05."""
    rng, expected = np.random.default_rng(seed), truth(design)
    covered, rejected, width = 0, 0, 0.0
    for _ in range(studies):
        draws = study(design, resamples, rng).draws()[1:]
        low, high = np.percentile(draws, [2.5, 97.5])
        covered += low <= expected <= high
        rejected += bootstrap_p_value(draws - expected) < 0.05
        width += high - low
    return {"coverage": covered / studies, "rejected": rejected / studies, "width": width / studies}


def family_error(studies: int, resamples: int, pairs: int = 10, seed: int = 0) -> float:
    """Family-wise error rate of `pairs` true null hypotheses after Holm's correction."""
    rng, design, wrong = np.random.default_rng(seed), Design("no difference", gain=0.0), 0
    for _ in range(studies):
        p = np.array([study(design, resamples, rng).p_value() for _ in range(pairs)])
        wrong += bool((holm(p) < 0.05).any())
    return wrong / studies


def main(
    studies: Annotated[int, typer.Option(help="number of simulated studies per design")] = 2000,
    resamples: Annotated[int, typer.Option(help="resamples per interval")] = 1000,
) -> None:
    """Print coverage and type I error of the comparison of two classifiers."""
    rows = [{"design": design.name} | measure(design, studies, resamples) for design in track(DESIGNS, "simulating")]
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3f"))
    error = 1.96 * np.sqrt(0.05 * 0.95 / studies)
    print(f"\n{studies} studies of each design: 95 % of the shares lie within {error:.3f} of their expectation.")
    family = family_error(studies // 10, 10 * resamples)
    print(f"Families of 10 true nulls of which any is rejected after Holm: {family:.3f} ({studies // 10} families)")


if __name__ == "__main__":
    typer.run(main)
