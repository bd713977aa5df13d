"""Effect of motion: gain of a classifier from LDDM videos over the same stills repeated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from matplotlib.ticker import MaxNLocator

from lddm.report.metric_names import delta_column, primary, shown

SENTENCES = {
    "better": "Classifier {name} is better with LDDM videos than with the same stills repeated",
    "worse": "Classifier {name} is worse with LDDM videos than with the same stills repeated",
    "not distinguishable": "No significant difference between LDDM videos and repeated stills for classifier {name}",
}
LDDM, STILLS = "real+lddm", "real+static"


@dataclass(frozen=True)
class Effect:
    """LDDM videos against repeated stills for one classifier, on the same test videos.

    Attributes:
        verdict: better, worse or not distinguishable.
        metric: display name of the primary metric.
        difference, low, high: difference of the metric, with its 95 % interval.
        p: the corrected p-value as text, e.g. "p = 0.027".
        runs: number of runs in which LDDM videos were better, e.g. "3 of 3 runs".
        lddm, stills: value of the metric in each regime; a dash if unknown.
    """

    classifier: str
    verdict: str
    metric: str
    difference: float
    low: float
    high: float
    p: str
    runs: str
    n_test: int
    n_patients: int
    lddm: str = "–"
    stills: str = "–"

    @property
    def sentence(self) -> str:
        """The verdict as a sentence without its full stop."""
        return SENTENCES[self.verdict].format(name=self.classifier)

    @property
    def said(self) -> str:
        """The difference with its interval in brackets."""
        return f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def effects(comparisons: pd.DataFrame, ablation: pd.DataFrame | None = None) -> list[Effect]:
    """One effect per classifier trained with both LDDM videos and repeated stills."""
    delta = delta_column(comparisons)
    rows = comparisons[(comparisons["regime"] == LDDM) & (comparisons["against"] == STILLS)]
    return [
        Effect(
            classifier=row.classifier,
            verdict=row.verdict,
            metric=shown(delta.removeprefix("delta_")),
            difference=getattr(row, delta),
            low=row.ci_low,
            high=row.ci_high,
            p=p_text(row.p_holm, row.p_sign),
            runs=f"{row.runs_better} of {row.n_runs} runs",
            n_test=row.n_test,
            n_patients=row.n_patients,
            lddm=_level(ablation, row.classifier, LDDM),
            stills=_level(ablation, row.classifier, STILLS),
        )
        for row in rows.itertuples()
    ]


def _level(ablation: pd.DataFrame | None, classifier: str, regime: str) -> str:
    if ablation is None:
        return "–"
    tested = ablation[ablation["metric"] == primary(ablation)]
    means = tested.loc[(tested["classifier"] == classifier) & (tested["regime"] == regime), "mean"]
    return f"{means.iloc[0]:.3f}" if len(means) else "–"


def p_text(p: float, sign: str) -> str:
    """Format a p-value, with "≤" at the resolution limit of the bootstrap."""
    return f"p {sign.replace('<=', '≤')} {p:.2g}"


def motion_sentences(comparisons: pd.DataFrame) -> list[str]:
    """Sentences that compare LDDM videos with repeated stills, which differ only in motion."""
    return [
        f"{effect.sentence} ({effect.verdict}): {effect.metric} {effect.said}, {effect.p}, higher in {effect.runs}, "
        f"{effect.n_test} test videos of {effect.n_patients} patients. Only motion can explain this difference."
        for effect in effects(comparisons)
    ]


def axis(shown_effects: list[Effect]) -> dict[str, float | list[float]]:
    """Common axis of the intervals: low, high (with zero in between) and ticks."""
    limits = [limit for effect in shown_effects for limit in (effect.low, effect.high) if math.isfinite(limit)]
    low, high = min([0.0, *limits]), max([0.0, *limits])
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    return {"low": min(low, ticks[0]), "high": max(high, ticks[-1]), "ticks": [float(tick) for tick in ticks]}
