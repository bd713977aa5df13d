"""A config that cannot work stops before any job, with one clear error and a hint."""

from __future__ import annotations

import pytest
from sandbox import Pipeline, pretend


def refused(pipeline: Pipeline, config: dict, *arguments: str) -> str:
    """The message of a run that must fail before its first job."""
    done = pipeline.run(*arguments, config=config)
    text = done.stderr + done.stdout
    assert done.returncode != 0, text
    assert "Traceback" not in text, text
    assert text.count("Hint:") == 1, text
    assert pipeline.verbs() == [], "a job ran"
    return text


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_misspelt_key_and_wrong_type_are_named_together(pipeline: Pipeline, arguments: list[str]):
    config = {"autoencoder": {"widht": 8, "training": {"steps": "many"}}, "clasification": {}}
    text = refused(pipeline, config, *arguments)
    assert "3 mistakes" in text
    assert "autoencoder.widht: not a key of autoencoder; did you mean 'width'?" in text
    assert "autoencoder.training.steps: expected a valid integer, got 'many' (str)" in text
    assert "did you mean 'classification'?" in text


def test_regime_without_its_generator(pipeline: Pipeline):
    text = refused(pipeline, {"synthesis": {"generators": ["lddm"]}})
    assert "'real+static' needs stills animated by 'static'" in text


def test_missing_data_folder(pipeline: Pipeline):
    config = {"data_root": "nowhere", "index": {"sources": [{"kind": "busv"}, {"kind": "busi"}]}}
    text = refused(pipeline, config)
    assert "raw data not found" in text and "nowhere/busv" in text and "nowhere/busi" in text


def test_present_data_folder_is_enough_to_start(pipeline: Pipeline):
    (pipeline.folder / "raw" / "mine").mkdir(parents=True)
    config = {"data_root": "raw", "index": {"sources": [{"kind": "folder", "folder": "mine"}]}}
    done = pipeline.run(config=config)
    assert done.returncode == 0, done.stderr
    assert pipeline.verbs()[0].startswith("track init")


def test_folders_and_addresses_may_hold_spaces_quotes_and_what_a_shell_would_run(tmp_path):
    odd = tmp_path / 'it\'s "odd" $(touch hacked) ü'
    odd.mkdir()
    pipeline = pretend(odd)
    raw = odd / "raw; touch hacked 'x {1}"
    (raw / "mine").mkdir(parents=True)
    config = {
        "data_root": str(raw),
        "index": {"sources": [{"kind": "folder", "folder": "mine"}]},
        "tracking": {"uri": "http://127.0.0.1:9/a'; touch hacked; '"},
    }
    done = pipeline.run(config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    assert any(f"--data-root {raw} " in line for line in pipeline.verbs())
    assert not list(tmp_path.rglob("hacked"))
