"""Charts say what their axes are, with n and interval, in colours that also colour-blind readers tell apart."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from lddm.report.charts import ablation_chart, quality_chart, sweep_chart
from lddm.report.curves import curves
from lddm.report.results import Results
from lddm.report.style import COLOURS, FOLDS, OTHER, label
from tests.unit.report.made_up import ablation_table, quality_rows, sweep_table

# Linear RGB as it is seen with the whole defect (Machado, Oliveira & Fernandes 2009).
SEEN = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
TOGETHER = {
    "generators": [
        COLOURS[n] for n in ("real", "reconstruction", "lddm", "cinn", "gaussian", "motion_transfer", "pixel", "static")
    ],
    "regimes": [COLOURS[n] for n in COLOURS if "+" in n or n in ("real", "lddm_only")],
    "folds": FOLDS,
}


def lab(colour: str, seen) -> np.ndarray:
    """CIE L*a*b* of a colour as someone sees it."""
    c = np.array(to_rgb(colour))
    linear = np.clip(np.asarray(seen) @ np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4), 0, 1)
    t = TO_XYZ @ linear / np.array([0.95047, 1, 1.08883])
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", SEEN)
@pytest.mark.parametrize("group", TOGETHER)
def test_colours_drawn_together_differ_for_everyone(group, kind):
    colours = [*TOGETHER[group], *([] if group == "folds" else [OTHER])]
    for one, other in itertools.combinations(colours, 2):  # matplotlib's own first three come as near as 5
        assert np.linalg.norm(lab(one, SEEN[kind]) - lab(other, SEEN[kind])) > 15, (one, other)


def quality() -> pd.DataFrame:
    """`real` has a Fréchet distance, but no SSIM to a true video."""
    rows = [row for name in ("real", "lddm", "static") for row in quality_rows(name, 0.1, 4.0)]
    rows += [row | {"metric": "ssim", "better": "higher"} for row in rows if row["metric"] == "l1"]
    return pd.DataFrame(rows).dropna(subset=["value"])


def test_each_panel_of_the_scores_says_unit_n_and_interval_and_has_its_bars_beside_the_names():
    figure = quality_chart(quality())
    figure.draw_without_rendering()
    first, second = figure.axes
    assert first.get_xlabel() == "squared features\nn = 3, 95 % interval"
    assert second.get_xlabel() == "no unit\nn = 3, 95 % interval"
    assert [text.get_text() for text in first.get_yticklabels()] == [label(n) for n in ("real", "lddm", "static")]
    assert first.get_ylim() == second.get_ylim()
    places = [bar.get_y() + bar.get_height() / 2 for bar in second.patches]
    assert places == pytest.approx([1, 2]) and list(first.get_yticks()) == [0, 1, 2]
    many = pd.concat(
        [
            quality().assign(metric=name)
            for name in ("fvd", "frechet_video", "frechet_frame", "flicker", "flow_magnitude")
        ]
    )
    figure = quality_chart(many[many["reference"] == "heldout"])
    assert len(figure.axes) == 6 and not figure.axes[5].axison  # two lines of three, the last place is empty
    named = [any(text.get_text() for text in axes.get_yticklabels()) for axes in figure.axes[:5]]
    assert named == [True, False, False, True, False]
    figure = quality_chart(quality().assign(ci_low=None, ci_high=None))
    assert figure.axes[0].get_xlabel() == "squared features\nn = 3"


def test_ablation_and_sweep_say_how_many_and_what_a_star_means(results, settings):
    figure = ablation_chart(ablation_table())
    assert figure.axes[0].get_xlabel() == "AUC on 3 test videos, 95 % interval\n*: p < 0.05 against real"
    figure = sweep_chart(sweep_table())
    assert figure.axes[0].get_ylabel() == "AUC on 3 test videos, 95 % interval" and figure.axes[0].get_xlabel()
    figure = curves(Results(results, settings))
    drawn = [axes for axes in figure.axes if axes.lines]
    assert drawn and all(axes.get_xlabel() == "step" and axes.get_ylabel() for axes in drawn)
