"""What people do with finished experiments: compare, paste tables, verify."""

import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from lddm.cli import evaluation
from lddm.data.sources.base import content_hash
from lddm.errors import LddmError
from lddm.files import read_json, write_json
from lddm.report.compare import compare
from lddm.report.latex import escape, quality_latex, tables
from lddm.report.provenance import verify, write_provenance
from lddm.report.results import Results


@pytest.fixture
def other(results):
    """A second experiment: wider, and with another score."""
    folder = results.with_name("wider")
    shutil.copytree(results, folder, symlinks=True)
    path = next(folder.glob("records/*/*/*/record.json"))
    about = read_json(path)
    about["settings"]["diffusion"]["width"] = 128
    write_json(path, about)
    table = folder / "tables/quality.csv"
    table.write_text(table.read_text().replace(",4,", ",3.5,"))
    return folder


def test_experiments_side_by_side_with_the_settings_that_differ(results, other):
    numbers, settings = compare([results, other])
    assert list(numbers.columns) == ["exp", "wider"]
    assert numbers.loc[("frechet_video, lddm", "lower")].tolist() == [
        "4 [3.6, 4.4] (n = 3)",
        "3.5 [3.6, 4.4] (n = 3)",
    ]
    assert numbers.loc[("AUC, strain, real+lddm", "higher"), "exp"] == "0.9 [0.85, 0.95] (n = 3, 1 x 2 runs)"
    assert {name.split(",")[0] for name, _ in numbers.index if "blind" in name} == {"l1 (blind to motion)"}
    assert settings.index.tolist() == ["diffusion.width"] and settings.iloc[0].tolist() == [64, 128]
    with pytest.raises(LddmError, match="two experiments are called"):
        compare([results, results])


def test_compare_in_the_terminal(results, other):
    done = CliRunner().invoke(evaluation.app, ["compare", str(results), str(other)])
    assert done.exit_code == 0 and "diffusion.width" in done.output and "frechet_video, lddm" in done.output
    alone = CliRunner().invoke(evaluation.app, ["compare", str(results)])
    assert alone.exit_code == 1 and "two experiments or more" in str(alone.exception)


def test_latex_tables_hold_the_numbers_and_balance(results, tmp_path):
    text = tables(Results(results))
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert text.count("{") == text.count("}") and "LDDM (ours) & 4 {\\scriptsize [3.6, 4.4]}" in text
    assert "Held-out patients, 3 videos of a generator" in text
    table = Results(results).quality()
    blind = table.assign(metric=table["metric"].replace({"l1": "ssim"}))
    assert r"SSIM$^c$ $\uparrow$" in quality_latex(blind) and "$^c$ blind to motion" in quality_latex(blind)
    assert "$^c$" not in text  # what sees motion is not marked
    other = table[table["metric"] == "frechet_video"].assign(reference="train")  # not in the table: must not be counted
    folds = pd.concat([table, table.assign(fold=1), other])
    assert "Held-out patients, 6 videos of a generator" in quality_latex(folds)
    assert "FVD" not in text.replace("DT-FVD", "")  # nobody has it
    for part in text.split(r"\begin{tabular}")[1:]:
        columns = part.split("}")[0].count("l") + part.split("}")[0].count("r")
        lines = [line for line in part.split(r"\midrule")[1].split(r"\bottomrule")[0].splitlines() if "&" in line]
        assert lines and all(line.count("&") == columns - 1 for line in lines)
    assert "$+0.200$ (0.010)" in text and "x0 repeated" in text
    assert escape("a_b & 5 %") == r"a\_b \& 5 \%"
    done = CliRunner().invoke(evaluation.app, ["tables", "--latex", str(results), "--out", str(tmp_path / "t.tex")])
    assert done.exit_code == 0 and (tmp_path / "t.tex").read_text() == text


def test_provenance_says_what_was_made_and_verify_what_changed(results):
    write_provenance(results, {"seed": 3}, results / "provenance.json")
    content = read_json(results / "provenance.json")
    assert content["settings"] == {"seed": 3} and content["pipeline"] == "abc123"
    assert content["packages"]["torch"] and len(content["inputs"]) == 22
    assert content["jobs"][0]["outputs"] == list(content["outputs"]) == ["results/exp/fold-0/quality/lddm.json"]
    assert verify(results) == {}
    made = results / "fold-0/quality/lddm.json"
    made.write_text(made.read_text().replace("4", "5"))
    assert verify(results) == {"results/exp/fold-0/quality/lddm.json": "changed"}
    done = CliRunner().invoke(evaluation.app, ["verify", str(results)])
    assert done.exit_code == 1 and "changed: results/exp/fold-0/quality/lddm.json" in done.output
    made.unlink()
    assert set(verify(results).values()) == {"missing"}


def test_verify_checks_the_raw_files_where_it_is_told_where_they_lie(results, tmp_path):
    write_provenance(results, {}, results / "provenance.json")
    raw = tmp_path / "raw"
    (raw / "mine/film").mkdir(parents=True)
    for name in ("mine/a.png", "mine/b.png", "mine/film/1.png"):
        (raw / name).write_text(name)
    rows = [
        {"path": name, "source": "folder", "sha256": content_hash(raw / name)} for name in ("mine/a.png", "mine/film")
    ]
    rows += [
        {"path": "mine/pipe", "source": "folder", "sha256": ""},
        {"path": "phantom:1", "source": "phantom", "sha256": "1"},
    ]
    pd.DataFrame(rows).to_parquet(results / "data/index.parquet")

    def said(*options):
        done = CliRunner().invoke(evaluation.app, ["verify", str(results), *options])
        return done.exit_code, done.output

    assert said() == (0, f"All outputs of {results} are as its jobs made them\n")
    assert said("--data-root", str(raw))[0] == 0 and "All raw files below" in said("--data-root", str(raw))[1]
    (raw / "mine/film/1.png").write_text("another")
    (raw / "mine/a.png").unlink()
    code, text = said("--data-root", str(raw))
    assert code == 1 and f"missing: {raw / 'mine/a.png'}" in text and f"changed: {raw / 'mine/film'}" in text
