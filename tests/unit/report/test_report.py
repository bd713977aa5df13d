"""The report reads files and says what they say."""

import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lddm.data.synthetic import save_synthetic
from lddm.errors import LddmError
from lddm.files import write_json, write_table
from lddm.report import page_tables
from lddm.report.effects import axis, effects, motion_sentences
from lddm.report.failures import failures, flagged
from lddm.report.figures import figures
from lddm.report.label_counts import label_counts
from lddm.report.latex import tables
from lddm.report.page import page
from lddm.report.parts import Cell, number
from lddm.report.results import Results
from lddm.report.summary import headline, summary
from lddm.report.tables import QUALITY, quality_table
from lddm.report.verdicts import ablation_sentences, quality_sentences, verdict
from lddm.settings.build import identity
from tests.markup import Markup
from tests.unit.report.made_up import ablation_table, comparison_table, quality_rows, sweep_table


def test_the_table_has_the_columns_of_the_contract_and_no_absent_metric(results, settings):
    table = pd.read_csv(results / "tables/quality.csv")
    assert list(table.columns) == QUALITY and "fvd" not in set(table["metric"])
    write_json(results / "broken.json", [{"metric": "l1"}])
    with pytest.raises(LddmError, match="no quality rows"):
        quality_table([results / "broken.json"])


def test_figures_are_drawn_and_move(results, settings):
    paths = {path.name: path for path in figures(settings, results, results / "figures")}
    stills = {"strips.png", "failures.png", "curves.png", "quality.png", "ablation.png", "sweep.png"}
    assert stills | {"loop-0.webp", "loop-1.webp"} == set(paths)
    for name, path in paths.items():
        with Image.open(path) as image:
            assert image.width > 300, name
            if name.endswith("webp"):
                assert image.n_frames > 4
            else:
                assert np.asarray(image.convert("L")).std() > 5, name
    write_table(sweep_table().iloc[:0], results / "tables/sweep.csv")
    assert "sweep.png" not in {path.name for path in figures(settings, results, results / "figures")}
    assert not (results / "figures/sweep.png").exists()  # none is left of an earlier run
    write_table(sweep_table(), results / "tables/sweep.csv")
    again = {path.name: path.read_bytes() for path in figures(settings, results, results / "figures")}
    assert again == {name: path.read_bytes() for name, path in paths.items()}


def test_the_page_stands_alone_and_escapes_what_it_shows(results, settings):
    figures(settings, results, results / "figures")
    page(settings, results, results / "report.html")
    text = (results / "report.html").read_text()
    assert Markup(text).problems == []
    assert not re.search(r'src="(?!data:)', text) and not re.search(r"url\(|@import|fetch\(", text)
    links = re.findall(r'href="([^"]*)"', text)
    assert [link for link in links if not link.startswith("#")] == [
        "http://127.0.0.1:5000"
    ]  # MLflow, if someone starts it
    assert all(f'<section id="{link[1:]}">' in text for link in links if link.startswith("#"))
    assert "diffusion.width" in text and "train_generator fold=0" in text
    assert "A &lt;title&gt; &amp; more" in text and "<title> &" not in text.replace("<title>A", "")
    assert "no &lt;weights&gt;" in text  # why fvd is absent
    assert "not for diagnosis" in text
    assert "not distinguishable" in text and "better" in text
    assert text.count("; blind to motion") == 1  # l1 is, the Fréchet video distance is not
    assert "32 real videos, 0.5 of a batch synthetic" in text and "2 of 2 runs" in text and "30 (20)" in text
    verdicts = text.split("Results</h2>")[1].split("</section>")[0]
    assert verdicts.index("Classifier strain is better with LDDM videos") < verdicts.index("Fréchet video distance")
    assert (
        f"Pipeline {identity(settings)} of experiment exp: 1 jobs" in text
        and "22 input files with SHA-256 and licence (CC0)" in text
    )
    assert "Flagged as copies" not in text  # nobody looked for copies


def test_the_first_section_answers_with_effect_interval_and_n(results, settings):
    page(settings, results, results / "report.html")
    text = (results / "report.html").read_text()
    first = " ".join(text.split("Results</h2>")[1].split("</section>")[0].split())
    for said in (
        "Classifier strain is better with LDDM videos than with the same stills repeated.",
        "AUC +0.190 <small>95 % interval +0.100 to +0.300</small>",
        "p = 0.04 with Holm’s correction, higher in 2 of 2 runs, n = 30 test videos of 20 patients.",
        "AUC with LDDM videos 0.900, with repeated stills 0.710.",
        "The generators were trained on all labelled training videos of the fold.",
    ):
        assert said in first, said
    write_table(comparison_table().iloc[:0], results / "tables/comparisons.csv")
    page(settings, results, results / "report.html")
    assert "This run does not compare LDDM videos with repeated stills." in (results / "report.html").read_text()


def test_the_intervals_of_all_classifiers_share_an_axis_that_holds_zero():
    both = pd.concat(
        [comparison_table(), comparison_table().assign(classifier="tiny3d", ci_low=0.25, ci_high=float("nan"))]
    )
    shown = effects(both, ablation_table())
    assert [(effect.classifier, effect.lddm, effect.stills) for effect in shown] == [
        ("strain", "0.900", "0.710"), ("tiny3d", "–", "–")
    ]  # fmt: skip
    scale = axis(shown)
    assert scale["low"] <= 0 and scale["high"] >= 0.3 and scale["low"] <= min(scale["ticks"]) <= 0
    assert axis([])["low"] < axis([])["high"]


def test_hostile_names_do_not_become_markup(results, settings, monkeypatch):
    bad = "</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>'
    found = Results(results, settings)
    clips, manifest = found.synthetic(0, "heldout")["lddm"]
    for generator in ("lddm", "static", "reconstruction"):
        manifest["patient_id"] = [f"{bad[1]}{number}" for number in range(len(manifest))]
        save_synthetic(results / f"fold-0/synthetic/{generator}/heldout/shard-0.npy", clips, manifest)
    meta, videos = found.meta(), found.videos()
    monkeypatch.setattr(Results, "meta", lambda self: meta | {"classes": [bad[0], "b"]})
    monkeypatch.setattr(Results, "videos", lambda self: videos.assign(class_name=bad[0], excluded=bad[1]))
    page(settings.model_copy(update={"experiment": bad[0]}), results, results / "report.html")
    text = (results / "report.html").read_text()
    assert "alert(1)" in text and "<script>alert" not in text and "<img src=x" not in text
    assert Markup(text).problems == []


def test_the_check_of_markup_finds_errors():
    for text, problem in (
        ("<p>a", "<p> is not closed"), ("<p><ul></ul></p>", "<ul> in <p>"), ("<i><b></i></b>", "</i> closes b"),
        ('<a href="#x">a</a>', "#x leads nowhere"), ("<input>", "without a label"), ("<button></button>", "without a name"),
        ('<b id="a"></b><b id="a"></b>', "id a twice"), ("<h1>a</h1><h3>b</h3>", "h3 after h1"),
        ("<table><tr><th>a</th></tr><tr><td>b</td><td>c</td></tr></table>", "a row of 2 cells in a table of 1"),
    ):  # fmt: skip
        assert any(problem in found for found in Markup(text).problems), text
    assert Markup('<label>a <input></label><a href="#x">b</a><p id="x">c<br>').problems == ["<p> is not closed"]


def test_all_labels_behind_a_classifier_are_counted(results, settings):
    """Not the training videos alone: validation labels choose the threshold, and stills are labelled."""
    for seed in range(2):
        run = {"regime": "real", "n_real_videos": 8, "n_added": 0, "steps": 4}
        write_json(results / f"fold-0/classification/strain/real/seed-{seed}.json", run)
    expected = "8 training videos + 3 validation videos + 4 labelled stills"
    found = Results(results, settings)
    assert all(expected in text for text in (label_counts(found), page_tables.ablation_note(found), tables(found)))


def test_folds_share_a_line_though_each_has_a_network_of_its_own(results, settings):
    table = Results(results, settings).quality()
    first, second = (table.assign(fold=k, features=f"domain_network (pretext accuracy 0.{k})") for k in (1, 2))
    shown = page_tables.quality_table(pd.concat([first, second.assign(value=second["value"] * 2)]), "heldout")
    (row,) = [row for row in shown.rows if row[0].text.startswith("frechet_video")]
    assert "accuracy 0.1); domain_network (pretext accuracy 0.2)" in row[0].small
    assert row[shown.head.index("LDDM (ours)")] == Cell("6", "folds 4 to 8")


def test_flagged_copies_are_listed_with_what_they_copy(results, settings):
    _, manifest = Results(results, settings).synthetic(0, "heldout")["lddm"]
    table = pd.DataFrame({"sample_id": manifest["sample_id"], "source": "heldout", "nearest": "video-03@0"})
    parts = [
        table.assign(features=name, distance=[0.4, 2.0, 0.2], threshold=0.8)
        for name in ("domain_network", "thumbnails")
    ]
    both = pd.concat(parts, ignore_index=True)
    copied = (both["distance"] < both["threshold"]) & (both["features"] == "domain_network")
    write_table(both.assign(copied=copied), results / "fold-0/quality/lddm_copies.csv")
    copies, searched = flagged(Results(results, settings))
    assert searched == 3 and copies["share"].tolist() == pytest.approx([0.25, 0.5])
    page(settings, results, results / "report.html")
    text = (results / "report.html").read_text()
    assert "Flagged as copies of a training clip: 2 of 3 LDDM videos" in text
    assert (
        text.index(str(manifest["sample_id"][2])) < text.index(str(manifest["sample_id"][0])) and "video-03@0" in text
    )


def test_a_search_that_flags_no_copy_lists_none(results, settings):
    _, manifest = Results(results, settings).synthetic(0, "heldout")["lddm"]
    table = pd.DataFrame({"sample_id": manifest["sample_id"], "source": "heldout", "nearest": "video-03@0"})
    table = table.assign(features="thumbnails", distance=2.0, threshold=1.0, copied=False)
    write_table(table, results / "fold-0/quality/lddm_copies.csv")
    copies, searched = flagged(Results(results, settings))
    assert len(copies) == 0 and searched == 3
    shown = page_tables.copies_table(Results(results, settings))
    assert shown.rows == [] and "0 of 3 LDDM videos" in shown.name


def test_the_summary_is_flat_numbers(results, settings):
    summary(settings, results, results / "summary.json")
    content = json.loads((results / "summary.json").read_text())
    assert content["headline"]["quality/lddm/frechet_video"] == 4.0
    assert content["headline"]["quality/real/frechet_video"] == 1.0
    assert content["headline"]["classification/strain/real+lddm/delta_auc"] == pytest.approx(0.2)
    assert content["headline"]["classification/strain/motion_delta_auc"] == 0.19
    assert all(isinstance(value, float) for value in content["headline"].values())
    assert (
        content["settings"]["synthesis.generators"] == '["lddm", "static"]' and "data_root" not in content["settings"]
    )
    assert content["pipeline"] == identity(settings) and content["absent_metrics"] == {"fvd": "i3d: no <weights>"}


def test_a_headline_does_not_mix_feature_spaces(results, settings):
    table = Results(results, settings).quality()
    copies = table[table["metric"] == "l1"].assign(metric="copy_rate", reference="train")
    both = [copies.assign(features=name, value=value) for name, value in (("domain_network", 0.1), ("thumbnails", 0.3))]
    numbers = headline(pd.concat([table, *both]), ablation_table(), comparison_table())
    assert (
        numbers["quality/lddm/copy_rate/domain_network"] == 0.1 and numbers["quality/lddm/copy_rate/thumbnails"] == 0.3
    )
    assert "quality/lddm/copy_rate" not in numbers and numbers["quality/lddm/l1"] == 0.08
    # the name of a network can change from fold to fold (its accuracy stands in it): still one score
    folds = pd.concat([table, table.assign(fold=1, features="g")])
    assert headline(folds, ablation_table(), comparison_table())["quality/lddm/frechet_video"] == 4


def test_verdicts_follow_the_numbers():
    table = ablation_table()
    rows = table.set_index(["regime", "metric"])
    with_metric = lambda r, m: pd.concat([rows.loc[(r, m)], pd.Series({"metric": m})])  # noqa: E731
    assert verdict(with_metric("real+lddm", "auc")) == "better"
    assert verdict(with_metric("real+lddm", "ece")) == verdict(with_metric("real+lddm", "brier")) == "not tested"
    assert verdict(with_metric("real+static", "auc")) == "not distinguishable"
    sentences = " ".join(ablation_sentences(table))
    assert "AUC 0.700 [0.650, 0.750] on real videos" in sentences and "n = 3 test videos" in sentences
    assert "0.900 [0.850, 0.950] (better)" in sentences and "0.710 [0.660, 0.760] (not distinguishable)" in sentences
    motion = " ".join(motion_sentences(comparison_table()))
    assert (
        "Classifier strain is better with LDDM videos than with the same stills repeated (better): AUC +0.190 [+0.100, +0.300]"
        in motion
    )
    assert "30 test videos of 20 patients" in motion
    assert "No significant difference" in motion_sentences(comparison_table().assign(verdict="not distinguishable"))[0]
    assert (
        "p = 0.04" in motion
        and "p ≤ 0.0001" in motion_sentences(comparison_table().assign(p_holm=1e-4, p_sign="<="))[0]
    )
    assert motion_sentences(comparison_table().iloc[:0]) == []


def test_sentences_about_scores_have_n_and_interval():
    rows = [
        row
        for name, l1 in (("reconstruction", 0.02), ("static", 0.1), ("lddm", 0.3))
        for row in quality_rows(name, l1, 4.0)
    ]
    best = [row | {"reference": "same x0, best of N", "value": 0.01} for row in rows if row["metric"] == "l1"]
    copied = quality_rows("lddm", 0.25, None)[1] | {
        "metric": "copy_rate",
        "features": "thumbnails",
        "reference": "train",
    }
    control = copied | {"generator": "real", "reference": "control: unseen, blurred", "value": 0.02}
    moved = copied | {"metric": "motion_copy_rate", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    quality = pd.DataFrame([*rows, *best, copied, control, moved]).dropna(subset=["value"])
    rebuilt, frechet, copies, privacy = quality_sentences(quality)
    assert "move as a training video does: 50.0% [40.0%, 60.0%]." in copies and "no anonymisation" in privacy
    assert "0.20 of the L1" in rebuilt and "0.02 [0.018, 0.022] and 0.1 [0.09, 0.11]" in rebuilt and "n = 3" in rebuilt
    assert "LDDM (ours) 4 [3.6, 4.4]" in frechet and "n = 3 videos" in frechet
    assert (
        "25.0% [22.5%, 27.5%]; n = 3 videos" in copies and "memorised ones near 100 %): unseen, blurred 2%." in copies
    )
    folds = pd.concat([quality, quality.assign(fold=1, value=quality["value"] * 2)])
    assert "LDDM (ours) 6 [4, 8]" in quality_sentences(folds)[1]  # the range of the folds


def test_numbers_are_short():
    assert [number(v) for v in (0.123456, 1234.5, float("nan"), None, 0.0)] == ["0.123", "1234", "–", "–", "0"]


def test_failures_are_chosen_by_rule(results, settings, tiny_store):
    store, _ = tiny_store
    clips, manifest = Results(results, settings).synthetic(0, "heldout")["lddm"]
    broken = clips.copy()
    broken[0, 5:] = 255 - broken[0, 5:]  # an abrupt step
    broken[1, 1:] = broken[1, :1]  # a still
    save_synthetic(results / "fold-0/synthetic/lddm/heldout/shard-0.npy", broken, manifest)
    table = pd.DataFrame(
        {
            "sample_id": manifest["sample_id"], "source": "heldout", "features": "domain_network",
            "nearest": "video-03@0", "distance": [3.0, 2.0, 0.5], "threshold": 1.0, "copied": [False, False, True],
        }
    )  # fmt: skip
    write_table(table, results / "fold-0/quality/lddm_copies.csv")
    (abrupt, first), (still, second), (worst, far), (copy, third) = failures(Results(results, settings))
    assert abrupt.startswith("most abrupt") and np.array_equal(first["lddm"], broken[0])
    assert still.startswith("stillest: 0.0%") and np.array_equal(second["lddm"], broken[1])
    real = Results(results, settings).real_clips(manifest["clip_id"].tolist())
    apart = np.abs(broken[:, 1:].astype(float) - real[:, 1:]).mean(axis=(1, 2, 3)) / 255
    assert np.array_equal(far["lddm"], broken[apart.argmax()]) and f"{apart.max():.3f}, median" in worst
    assert "0.50 of the threshold, counts as a copy" in copy and np.array_equal(third["lddm"], broken[2])
    assert np.array_equal(third["nearest training clip"], Results(results, settings).real_clip("video-03@0"))


def test_the_newest_attempt_counts_also_if_the_clock_went_backwards(results, settings):
    first = next(results.glob("records/train_generator/*/*/record.json"))
    second = first.parents[1] / "20250101T000000-bb"
    write_json(second / "record.json", json.loads(first.read_text()) | {"attempt": 2, "started": "2025-01-01T00:00:00"})
    (second / "metrics.jsonl").write_text(json.dumps({"step": 7, "time": 0, "values": {"val/loss": 0.5}}))
    found = Results(results, settings)
    assert found.training_logs()["train_generator fold-0_generator-lddm"]["step"].tolist() == [7]
    assert [job["attempt"] for job in found.jobs()] == [2]


def test_the_page_has_the_leak_report_with_its_warnings_set_apart(results, settings, monkeypatch):
    lines = ["WARNING: frame rate alone predicts <the class>", "class a: 3 videos"]
    report = SimpleNamespace(lines=lambda: lines)
    asked = []
    module = SimpleNamespace(
        leak_report=lambda videos, classes: asked.append((len(videos), classes)) or report,
        with_classes=lambda videos, task: (videos, list(task.classes)),
    )
    monkeypatch.setitem(sys.modules, "lddm.data.leaks", module)
    page(settings, results, results / "report.html")
    text = (results / "report.html").read_text()
    assert '<p class="note">WARNING: frame rate alone predicts &lt;the class&gt;</p>' in text
    assert "<li>class a: 3 videos</li>" in text and asked == [(22, ["a", "b"])]


def test_the_page_says_how_weights_that_come_later_count(results, settings):
    page(settings, results, results / "report.html")
    assert "--forcerun score" in (results / "report.html").read_text()
