"""The config files, the generated schema and the typed settings say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from lddm.errors import LddmError
from lddm.settings import AutoencoderSettings, DiffusionSettings, Settings, build

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def merged(path: Path) -> dict:
    """A config as Snakemake sees it: laid over config/config.yaml, lists replaced."""

    def over(base: dict, own: dict) -> dict:
        both = {key: over(base[key], own[key]) for key in own if isinstance(base.get(key), dict) and own[key]}
        return base | own | both

    return over(yaml.safe_load((ROOT / "config/config.yaml").read_text()), yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", build.generated(), ids=str)
def test_generated_files_are_in_step(path: Path):
    assert (ROOT / path).read_text() == build.generated()[path], "run `lddm settings --write`"


def test_default_yaml_is_the_default_and_explains_every_key():
    text = build.default_yaml()
    assert build.load(yaml.safe_load(text)) == Settings()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.endswith(":") or not line or line.lstrip().startswith(("#", "- kind:")):
            continue
        explained = lines[number - 1].lstrip().startswith("#")
        # a class that comes again (training) is explained at its first place only
        repeated = any(
            other.split(":")[0] == line.split(":")[0] and lines[earlier - 1].lstrip().startswith("#")
            for earlier, other in enumerate(lines[:number])
        )
        assert explained or repeated, line


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_loads_and_fits_the_schema(path: Path):
    settings = build.load(merged(path))
    schema = yaml.safe_load((ROOT / build.SCHEMA_PATH).read_text())
    jsonschema.validate(merged(path), schema)
    assert path.name == "config.yaml" or settings.experiment == path.stem


def test_a_config_given_to_python_means_what_it_means_to_snakemake():
    own = {
        "diffusion": {"training": {"steps": 7}},
        "cinn": {"training": {"batch_size": 4}},
        "autoencoder": {"width": 8},
    }
    whole = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for section, keys in own.items():
        for key, value in keys.items():
            whole[section][key] = whole[section][key] | value if isinstance(value, dict) else value
    assert build.load(own) == build.load(whole)


def test_schema_is_closed_and_described():
    schema = yaml.safe_load(build.json_schema())
    for part in [schema, *schema["$defs"].values()]:
        assert part["additionalProperties"] is False and part["description"]
        for name, field in part["properties"].items():
            assert "description" in field or "$ref" in field or "const" in field, (part["title"], name)


def test_no_setting_is_dead():
    """Each key of the schema is read as an attribute somewhere in the package or the workflow."""
    code = [*(ROOT / "lddm").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk")]
    text = "\n".join(path.read_text() for path in code)
    schema = yaml.safe_load(build.json_schema())
    keys = {key for part in [schema, *schema["$defs"].values()] for key in part["properties"]}
    assert {key for key in keys if not re.search(rf"\.{key}\b", text)} == set()


def test_stage_json_goes_there_and_back():
    settings = build.load({"seed": 7, "autoencoder": {"width": 8, "kl_weight": 1}})
    text = build.stage_json(settings, "autoencoder", "diffusion")
    assert set(json.loads(text)) == {"seed", "autoencoder", "diffusion"}
    seed, autoencoder, diffusion = build.parse_stage(text, AutoencoderSettings, DiffusionSettings)
    assert (seed, autoencoder, diffusion) == (7, settings.autoencoder, settings.diffusion)
    assert build.parse_stage(build.stage_json(settings)) == (7,)


@pytest.mark.parametrize("text", ["{", "[]", '{"seed": 0}', '{"seed": 0, "autoencoder": {}, "report": {}}'])
def test_stage_json_of_another_stage_is_refused(text: str):
    with pytest.raises(LddmError, match="--settings"):
        build.parse_stage(text, AutoencoderSettings)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"index": {"sources": [{"kind": "phantom", "vidoes": 3}]}}, r"index\.sources\.0\.vidoes: .*'videos'"),
        ({"index": {"sources": [{"kind": "bsi"}]}}, r"index\.sources\.0\.kind: .*did you mean 'busi'"),
        ({"index": None}, r"index: expected a section"),
        ({"autoencoder": {"decoder": "wrap"}}, r"autoencoder\.decoder: .*did you mean 'warp'"),
        ({"autoencoder": {"decoder": "paint"}}, r"autoencoder: latent 'factorised' is the motion of decoder 'warp'"),
        ({"cinn": {"training": {"learning_rate": "1e-3"}}}, r"(?s)learning_rate.*write 1\.0e-3"),
        ({"synthesis": {"samples": {"helout": 1}}}, r"synthesis\.samples\.helout: .*'heldout'"),
        ({"synthesis": {"samples": {"stills": 1}}}, r"synthesis\.samples\.heldout"),
        ({"split": {"run_folds": 9}}, r"split: run_folds must not exceed folds"),
        ({"experiment": "../elsewhere"}, r"experiment: expected text that matches"),
    ],
)
def test_mistakes_are_named_with_a_way_out(raw: dict, message: str):
    with pytest.raises(LddmError, match=message) as caught:
        build.load(raw)
    assert caught.value.hint


def test_identity_ignores_only_where_things_lie():
    plain = build.identity(build.load({}))
    assert plain == build.identity(build.load({"data_root": "x", "weights_dir": "y", "tracking": {"enabled": False}}))
    assert plain != build.identity(build.load({"seed": 1})) and len(plain) == 12
