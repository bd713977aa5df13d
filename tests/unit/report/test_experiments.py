"""What people do with finished experiments: compare, paste tables, verify."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from lddm.cli import evaluation
from lddm.data.sources.base import content_hash
from lddm.errors import LddmError
from lddm.files import read_json, write_json
from lddm.report.compare import compare
from lddm.report.latex import escape, quality_latex, tables
from lddm.report.page import page
from lddm.report.provenance import repair_hint, verify, write_provenance
from lddm.report.results import Results
from lddm.report.summary import summarize
from lddm.settings.build import identity, load
from lddm.settings.stages import whole
from lddm.tracking.code_version import code_version
from lddm.tracking.record import Record


@pytest.fixture
def other(results, settings):
    """A second experiment: wider, and with another score."""
    write_provenance(results, settings, results / "provenance.json")
    folder = results.with_name("wider")
    shutil.copytree(results, folder, symlinks=True)
    shutil.rmtree(folder / "settings")  # those of its provenance count
    content = read_json(folder / "provenance.json")
    content["settings"]["diffusion"]["width"] = 128
    write_json(folder / "provenance.json", content)
    table = folder / "tables/quality.csv"
    table.write_text(table.read_text().replace(",4,", ",3.5,"))
    return folder


def test_experiments_side_by_side_with_the_settings_that_differ(results, other):
    numbers, differing = compare([results, other])
    assert list(numbers.columns) == ["exp", "wider"]
    assert numbers.loc[("frechet_video, lddm", "lower")].tolist() == [
        "4 [3.6, 4.4] (n = 3)",
        "3.5 [3.6, 4.4] (n = 3)",
    ]
    assert numbers.loc[("AUC, strain, real+lddm", "higher"), "exp"] == "0.9 [0.85, 0.95] (n = 3, 1 x 2 runs)"
    assert {name.split(",")[0] for name, _ in numbers.index if "blind" in name} == {"l1 (blind to motion)"}
    assert differing.index.tolist() == ["diffusion.width"] and differing.iloc[0].tolist() == [24, 128]
    with pytest.raises(LddmError, match="two experiments are named"):
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
    assert "Held-out patients, 3 videos per generator" in text
    table = Results(results).quality()
    blind = table.assign(metric=table["metric"].replace({"l1": "ssim"}))
    assert r"SSIM$^c$ $\uparrow$" in quality_latex(blind) and "$^c$ blind to motion" in quality_latex(blind)
    assert "$^c$" not in text  # what sees motion is not marked
    other = table[table["metric"] == "frechet_video"].assign(reference="train")  # not in the table: must not be counted
    folds = pd.concat([table, table.assign(fold=1), other])
    assert "Held-out patients, 6 videos per generator" in quality_latex(folds)
    assert "FVD" not in text.replace("DT-FVD", "")  # nobody has it
    for part in text.split(r"\begin{tabular}")[1:]:
        columns = part.split("}")[0].count("l") + part.split("}")[0].count("r")
        lines = [line for line in part.split(r"\midrule")[1].split(r"\bottomrule")[0].splitlines() if "&" in line]
        assert lines and all(line.count("&") == columns - 1 for line in lines)
    assert "$+0.200$ (0.010)" in text and "x0 repeated" in text
    assert escape("a_b & 5 %") == r"a\_b \& 5 \%"
    done = CliRunner().invoke(evaluation.app, ["tables", "--latex", str(results), "--out", str(tmp_path / "t.tex")])
    assert done.exit_code == 0 and (tmp_path / "t.tex").read_text() == text


def test_provenance_says_what_was_made_and_verify_what_changed(results, settings):
    write_provenance(results, settings, results / "provenance.json")
    content = read_json(results / "provenance.json")
    assert (
        content["settings"]["synthesis"]["generators"] == ["lddm", "static"] and "data_root" not in content["settings"]
    )
    assert content["pipeline"] == identity(settings)
    assert content["packages"]["torch"] and len(content["inputs"]) == 22
    assert content["jobs"][0]["outputs"] == list(content["outputs"]) == ["fold-0/quality/lddm.json"]
    assert verify(results) == {}
    made = results / "fold-0/quality/lddm.json"
    made.write_text(made.read_text().replace("4", "5"))
    assert verify(results) == {"fold-0/quality/lddm.json": "changed"}
    done = CliRunner().invoke(evaluation.app, ["verify", str(results)])
    assert done.exit_code == 1 and f"changed: {made}" in done.output
    target = "results/exp/fold-0/quality/lddm.json"
    assert done.exception.hint.endswith(f"snakemake --cores all {target} --forcerun {target}")
    made.unlink()
    assert verify(results) == {"fold-0/quality/lddm.json": "missing"}
    done = CliRunner().invoke(evaluation.app, ["verify", str(results)])
    assert done.exception.hint.endswith(f"snakemake --cores all {target}")


def test_verify_holds_after_a_second_summary_and_wherever_the_folder_lies(results, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("results/exp")
    for title in ("first", "second"):  # the second run finds the record of the first one
        changed = settings.model_copy(update={"report": settings.report.model_copy(update={"title": title})})
        with Record.start(folder / "records", "summarize", {}, {}, "exp", "p") as record:
            for path in summarize(changed, folder, folder / "summary.json"):
                record.output(path)
        assert verify(folder) == {}
    shutil.move(results, tmp_path / "archive")
    assert verify(tmp_path / "archive") == {}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/link").symlink_to(tmp_path / "archive")
    assert verify(tmp_path / "elsewhere/link") == {}
    (tmp_path / "archive/summary.json").write_text("{}")
    assert verify(tmp_path / "elsewhere/link") == {"summary.json": "changed"}


def test_verify_tells_what_a_later_job_made_again_from_what_was_edited(results, settings):
    write_provenance(results, settings, results / "provenance.json")
    made = results / "fold-0/quality/lddm.json"
    made.write_text(made.read_text().replace("4", "5"))
    with Record.start(
        results / "records", "train_generator", {"fold": "0", "generator": "lddm"}, {}, "exp", "p"
    ) as record:
        record.output(made)
    assert verify(results) == {"fold-0/quality/lddm.json": "newer"}
    assert repair_hint(results, verify(results)).startswith("run the workflow to its end")


def test_verify_reads_the_provenance_of_an_earlier_version(results, settings):
    write_provenance(results, settings, results / "provenance.json")
    content = read_json(results / "provenance.json")
    old = {
        f"results/exp/{name}": {key: entry[key] for key in ("sha256", "size")}
        for name, entry in content["outputs"].items()
    }
    write_json(results / "provenance.json", content | {"outputs": old})
    assert verify(results) == {}


def test_provenance_and_page_name_the_versions_of_the_code_if_they_differ(results, settings):
    page(settings, results, results / "report.html")
    assert (
        "Code of all jobs: lddm 0.1.0, commit 0123456789ab, modules fedcba987654"
        in (results / "report.html").read_text()
    )
    with Record.start(results / "records", "score", {"fold": "0"}, {}, "exp", "p") as record:
        record.output(results / "fold-0/quality/static.json")
    page(settings, results, results / "report.html")
    assert "run with 2 different versions of the code" in (results / "report.html").read_text()
    write_provenance(results, settings, results / "provenance.json")
    content = read_json(results / "provenance.json")
    assert [version["jobs"] for version in content["versions"]] == [1, 1]
    assert {job["code"]["sha256"] for job in content["jobs"]} == {"fedcba987654", code_version()["sha256"]}


def test_verify_checks_the_raw_files_where_it_is_told_where_they_lie(results, settings, tmp_path):
    write_provenance(results, settings, results / "provenance.json")
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

    assert said() == (0, f"All outputs of {results} match their checksums\n")
    assert said("--data-root", str(raw))[0] == 0 and "All raw files below" in said("--data-root", str(raw))[1]
    (raw / "mine/film/1.png").write_text("another")
    (raw / "mine/a.png").unlink()
    code, text = said("--data-root", str(raw))
    assert code == 1 and f"missing: {raw / 'mine/a.png'}" in text and f"changed: {raw / 'mine/film'}" in text


def test_numbers_of_an_earlier_config_are_not_shown_under_the_settings_of_a_run_that_has_begun(
    results, other, settings
):
    write_provenance(results, settings, results / "provenance.json")
    compare([results, other])
    changed = load(whole(settings) | {"diffusion": {"width": 64}})
    (results / "settings/whole.yaml").write_text(yaml.safe_dump(whole(changed)))
    with pytest.raises(LddmError, match="earlier config"):
        compare([results, other])
