"""memorisation.csv and the scorecard on made-up results."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from typer.testing import CliRunner

from lddm.cli import app
from lddm.report.memorisation import EXPECTED, KINDS, MEMORISATION, controls_hold
from lddm.report.results import Results
from lddm.report.scorecard import criteria, scorecard

CRITERIA = ["Congruence", "Coverage", "Constraint", "Completeness", "Compliance", "Comprehension", "Consistency"]


@pytest.fixture
def memory(results):
    return pd.read_csv(results / "tables/memorisation.csv", keep_default_na=False, na_values=[""])


def test_each_measure_stands_beside_its_controls(memory):
    assert list(memory.columns) == MEMORISATION
    rows = memory[memory["metric"] == "copy_rate"]
    assert rows["kind"].tolist() == [KINDS[0], KINDS[0], KINDS[1], KINDS[2]]
    assert rows["videos"].tolist() == ["lddm", "static", "memorised, rebuilt", "unseen"]
    assert memory["metric"].drop_duplicates().tolist() == [name for name in EXPECTED if name in set(memory["metric"])]


def test_a_control_that_fails_says_so(memory):
    assert controls_hold(memory, "copy_rate") == (2, 2) and controls_hold(memory, "data_copying") == (1, 2)
    failed = memory[memory["holds"].astype(str) == "False"]
    assert failed["videos"].tolist() == ["unseen, <blurred>"] and failed["expected"].iloc[0] == "interval not below 0"


def test_a_measure_that_is_absent_keeps_its_reason(memory):
    row = memory[(memory["metric"] == "membership_auc") & (memory["videos"] == "static")].iloc[0]
    assert pd.isna(row["value"]) and row["reason"] == "no <loss>"


@pytest.mark.parametrize(
    ("metric", "row", "positive", "negative"),
    [
        ("copy_rate", {"value": 0.95}, True, False),
        ("copy_rate", {"value": 0.5}, False, False),  # neither found nor not found
        ("copy_rate", {"value": 0.1}, False, True),
        ("authenticity", {"value": 0.05, "floor": 0.7, "ci_low": 0.0, "ci_high": 0.1}, True, False),
        ("authenticity", {"value": 0.7, "floor": 0.72, "ci_low": 0.6, "ci_high": 0.8}, False, True),
        ("membership_auc", {"value": 0.89, "ci_low": 0.8, "ci_high": 0.95}, False, False),
        ("data_copying", {"value": -1.3, "ci_low": -2.4, "ci_high": 0.3, "p_value": 0.02}, False, True),
    ],
)
def test_what_controls_have_to_show(metric, row, positive, negative):
    assert [expected.holds(row) for expected in EXPECTED[metric]] == [positive, negative]


def test_controls_of_searches_only_are_rows_of_quality(results):
    quality = pd.read_csv(results / "tables/quality.csv")
    controls = quality[quality["reference"].astype(str).str.startswith("control: ")]
    assert set(controls["metric"]) == {"copy_rate"} and len(controls) == 2


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]


def test_the_card_has_all_criteria_escapes_and_needs_nothing_else(results, settings):
    scorecard(settings, results, results / "scorecard.html")
    text = (results / "scorecard.html").read_text()
    parsed = Tags()
    parsed.feed(text)
    assert parsed.loads == [] and "@import" not in text
    assert [name for name in re.findall(r"<h2>(\w+)", text) if name in CRITERIA] == CRITERIA
    assert "A &lt;title&gt; &amp; more" in text and "unseen, &lt;blurred&gt;" in text and "<blurred>" not in text
    assert "no anonymisation" in text and 'class="failed"' in text


def test_lines_have_n_and_interval_or_a_reason(results, settings):
    found = {criterion.name: criterion.lines for criterion in criteria(Results(results, settings))}
    assert list(found) == CRITERIA
    for name, lines in found.items():
        assert lines, name
        for line in lines:
            assert line.reason or (line.value and line.n), line
    frechet = found["Congruence"][1]
    assert (frechet.value, frechet.interval, frechet.n) == ("4", "3.6 to 4.4", "3 videos")
    assert found["Congruence"][0].reason  # FVD is absent
    copies, motion, authentic, _, membership = found["Compliance"]
    assert copies.value == "0.02" and "2 of 2 controls hold" in copies.compared and motion.reason == "not computed"
    assert "without memory 0.75" in authentic.compared and membership.interval == "0.49 to 0.63"
    assert "one training" in " ".join(line.reason for line in found["Consistency"])
    assert found["Completeness"][0].value == "3 of 3"


def test_the_command_writes_it_into_the_folder(results):
    (results / "scorecard.html").unlink(missing_ok=True)
    told = CliRunner().invoke(app, ["scorecard", str(results)])
    assert told.exit_code == 0, told.output
    assert "Compliance" in (results / "scorecard.html").read_text()
