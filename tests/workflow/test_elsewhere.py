"""The workflow in other people's hands: as a module, below a prefix, in other folders, without raw data."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from sandbox import ROOT, Pipeline

from lddm.metrics import present

SMALL = {"experiment": "small", "index": {"sources": [{"kind": "phantom", "videos": 40, "stills": 20}]}}


def deploy(pipeline: Pipeline, modules: dict[str, tuple[dict, str]], rest: str = "") -> None:
    """Write a workflow that imports this one once per module: name -> (config, more lines of the module)."""
    lines = [rest]
    for name, (config, more) in modules.items():
        (pipeline.folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
        snakefile = str(ROOT / "workflow/Snakefile")
        lines += [f"module {name}:", f"    snakefile: {snakefile!r}", f"    config: load('{name}.yaml')", more]
        lines += [f"use rule * from {name} as {name}_*"]
    head = "import yaml\ndef load(path):\n    return yaml.safe_load(open(path))\n"
    (pipeline.folder / "Snakefile").write_text(head + "\n".join(filter(None, lines)) + "\n")


def test_two_studies_in_one_workflow_keep_their_names_folders_and_addresses(pipeline: Pipeline):
    secret = "http://bob:hunter2@127.0.0.1:9/"
    modules = {
        "breast": (SMALL | {"experiment": "breast"}, '    prefix: "pre"'),
        "lung": (
            SMALL | {"experiment": "lung", "seed": 1, "tracking": {"uri": secret}},
            '    replace_prefix: {"results/": "out/"}',
        ),
    }
    other = (
        'shell.prefix("export OUTER=1; ")\nrule mine:\n    output: "mine.txt"\n'
        "    shell: \"env | grep '^LDDM_E\\|^OUTER' > {output}\""
    )
    deploy(pipeline, modules, other)
    snakefile = pipeline.folder / "Snakefile"
    places = {"breast": "pre/results/breast/", "lung": "out/lung/"}
    commands = pipeline.commands("breast_all", "lung_all", snakefile=snakefile)
    assert len(commands) > 40 and not any("hunter2" in line for line in commands)
    for line in commands:  # records, states and logs too
        experiment = re.search(r"LDDM_EXPERIMENT=(\w+)", line)[1]
        paths = re.findall(r"\S*/(?:breast|lung)/\S*", line)
        assert len(paths) >= 3 and all(path.startswith(places[experiment]) for path in paths), line
    indices = [f"{place}data/index.parquet" for place in places.values()]
    done = pipeline.run("mine.txt", *indices, snakefile=snakefile)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (pipeline.folder / "mine.txt").read_text() == "OUTER=1\n"  # other rules are not ours
    told = {one.pop("LDDM_EXPERIMENT"): one for one in pipeline.told()}
    assert told["lung"]["LDDM_TRACKING"] == secret and told["breast"]["LDDM_TRACKING"] == ""
    assert told["lung"]["LDDM_PIPELINE"] != told["breast"]["LDDM_PIPELINE"]


def test_a_module_without_its_raw_data_starts_no_job(pipeline: Pipeline):
    config = {"index": {"sources": [{"kind": "folder", "folder": "mine"}]}, "data_root": "nowhere"}
    deploy(pipeline, {"lddm": (config, "")})
    done = pipeline.run("lddm_all", snakefile=pipeline.folder / "Snakefile")
    assert done.returncode != 0 and "raw data not found" in done.stderr and pipeline.verbs() == []


def test_an_empty_folder_runs_the_default_and_a_dry_run_says_what_is_missing(pipeline: Pipeline):
    shutil.rmtree(pipeline.folder / "config")
    done = pipeline.run("--dry-run", "--quiet", "--config", "index={sources: [{kind: folder, folder: mine}]}")
    assert done.returncode == 0 and "warning: raw data not found" in done.stderr, done.stderr
    assert not (pipeline.folder / "results").exists()


def test_scores_follow_the_weights_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("LDDM_OFFLINE", "1")
    folder, note = tmp_path / "weights", tmp_path / "weights.json"

    def plan() -> str:
        return present.planned(folder, note)

    def fetch(during: str | None = None) -> dict:
        planned = plan()
        if during:  # a download by the job itself
            folder.mkdir(exist_ok=True)
            (folder / present.REGISTRY[during].file).write_bytes(b"downloaded")
        assert during or "brisque" in present.note_weights(folder, planned, note)
        present.note_weights(folder, planned, note)
        return json.loads(note.read_text())

    first = plan()
    assert fetch(during="i3d_dtdb")["found"].keys() == {"i3d_dtdb"}
    assert plan() == first, "what the job itself downloaded is no reason to run again"
    (folder / "i3d_torchscript.pt").write_bytes(b"by hand")
    second = plan()
    assert second != first
    fetch()
    assert plan() == second
    folder = folder.rename(tmp_path / "moved")
    assert plan() == second, "the folder may be moved"
    (folder / "i3d_torchscript.pt").write_bytes(b"another")
    assert plan() not in (first, second)


STUB = '#!/bin/sh\nfor word; do printf "[%s]" "$word"; done\necho " of $(basename "$0")"\n'


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout below a folder with a space, with stubs that print their arguments as its environment."""
    root = tmp_path / "my repo"
    programs = root / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for name in ("python", "snakemake", "mlflow"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)
    (root / ".venv/installed").touch()
    return root


def make(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", "-C", str(root), *arguments], env=environment, capture_output=True, text=True)


def test_make_in_a_folder_with_a_space(checkout: Path):
    for target in ("run", "bench", "ui", "study-defects"):
        done = make(checkout, target)
        assert done.returncode == 0 and " of " in done.stdout, done.stderr
    done = make(checkout, "study-lung", "DATA=/a b #c")
    assert done.returncode == 0 and '[--config][data_root="/a b #c"]' in done.stdout, done.stderr
    done = make(checkout, "report")
    assert done.returncode != 0 and "finish `make run` first" in done.stdout
