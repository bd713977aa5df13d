"""What sentences, tables and figures say of several classes and of numbers."""

import numpy as np
import pytest

from lddm.classification.confusion import confusion_table
from lddm.classification.table import evaluate
from lddm.report.charts import ablation_chart
from lddm.report.effects import motion_sentences
from lddm.report.latex import classification_latex
from lddm.report.metric_names import delta_column, primary
from lddm.report.page_tables import ablation_table, comparison_table
from lddm.report.prediction_charts import agreement_chart, confusion_chart
from lddm.report.style import save
from lddm.report.verdicts import ablation_sentences
from lddm.settings.evaluation import ClassificationSettings
from tests.unit.classification.test_measures_of_tasks import NUMBER, ORDINAL, written

REGIMES = {"real": 0.6, "real+static": 0.6, "real+lddm": 3.0}  # how well each predicts


@pytest.fixture
def ordered(tmp_path):
    labels, rng = np.arange(90) % 3, np.random.default_rng(0)
    files = []
    for regime, strength in REGIMES.items():
        odds = np.exp(strength * np.eye(3)[labels] + rng.normal(size=(90, 3)))
        files.append(written(tmp_path, ORDINAL, regime, labels, odds / odds.sum(axis=1, keepdims=True)))
    return files


@pytest.fixture
def numbers(tmp_path):
    target, rng = np.random.default_rng(1).uniform(20, 70, 60), np.random.default_rng(0)
    return [
        written(tmp_path, NUMBER, regime, target, target + rng.normal(0, 15 / strength, 60))
        for regime, strength in REGIMES.items()
    ]


@pytest.mark.parametrize(
    ("data", "metric", "name", "latex"),
    [("ordered", "quadratic_kappa", "quadratic kappa", r"$\kappa_w$"), ("numbers", "r2", "R²", "$R^2$")],
)
def test_the_tested_metric_is_named_everywhere(data, metric, name, latex, request):
    files = request.getfixturevalue(data)
    table, compared = evaluate(files, ClassificationSettings(bootstrap=1000), 0)
    assert primary(table) == metric and delta_column(compared) == f"delta_{metric}"
    (sentence,) = ablation_sentences(table)
    assert sentence.startswith(f"Classifier strain: {name} ") and "real + LDDM" in sentence and "(better)" in sentence
    (motion,) = motion_sentences(compared)
    assert f"{name} +" in motion and "AUC" not in motion
    assert name in [row[1] for row in ablation_table(table).rows]
    assert f"difference of {name}" in comparison_table(compared).head
    tex = classification_latex(table, "90 videos")
    assert latex in tex and r"\Delta" in tex and "nan" not in tex
    assert name in ablation_chart(table).axes[0].get_xlabel()


def test_one_against_the_rest_is_on_the_page_by_class_name(ordered):
    table, _ = evaluate(ordered, ClassificationSettings(bootstrap=20), 0)
    assert "AUC, mild vs rest" in [row[1] for row in ablation_table(table).rows]


def test_a_confusion_matrix_shows_names_counts_and_shares(ordered, tmp_path):
    table = confusion_table(ordered)
    place = table[table["regime"] == "real"].index[0]
    table.loc[place, ["videos", "share"]] = 0.5, 0.04  # one of two seeds
    figure = confusion_chart(table, list(ORDINAL.classes))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0] == "0.5\n4%" and len(texts) == 9
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["normal", "mild", "severe"]
    assert save(figure, tmp_path / "confusion.png").stat().st_size > 1000


def test_agreement_shows_each_video_with_the_unit_and_the_limits(numbers, tmp_path):
    import json

    runs = [json.loads(path.read_text()) for path in numbers]
    figure = agreement_chart(runs, NUMBER)
    above, below = figure.axes[0], figure.axes[3]
    assert len(above.lines[1].get_xdata()) == 60 and "ejection fraction [%]" in above.get_ylabel()
    difference = below.lines[0].get_ydata()
    limits = sorted(line.get_ydata()[0] for line in below.lines[1:])
    expected = difference.mean() + 1.96 * difference.std() * np.array([-1, 0, 1])
    assert limits == pytest.approx(expected)
    assert save(figure, tmp_path / "agreement.png").stat().st_size > 1000
