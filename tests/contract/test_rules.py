"""Rules are thin and complete: docstring, log, environment, resources, and one call of one command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from lddm.cli import app

WORKFLOW = Path(__file__).resolve().parents[2] / "workflow"
FILES = sorted((WORKFLOW / "rules").glob("*.smk"))
RULES = [
    (path.stem, *match)
    for path in FILES
    for match in re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
]


def command_line(body: str) -> str:
    """The shell command of a rule, its string pieces joined."""
    return "".join(re.findall(r'^ +"(.*)"$', body.split("    shell:\n")[1], re.MULTILINE))


def commands() -> dict[str, set[str]]:
    """Command -> its options."""
    commands = typer.main.get_command(app).commands
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands.items()
    }


def test_rules_are_found():
    assert len(RULES) >= 14


JOBS = [rule for rule in RULES if not rule[1].startswith("settings")]  # that write the files of settings, in Snakemake


@pytest.mark.parametrize(("stage", "name", "body"), JOBS, ids=[name for _, name, _ in JOBS])
def test_rule_is_thin_and_complete(stage: str, name: str, body: str):
    assert re.match(r' {4}"""[A-Z].+\."""\n', body), "a docstring of one sentence says what the rule is for"
    for directive in ("output", "log", "benchmark", "conda", "resources", "params", "shell"):
        assert f"    {directive}:\n" in body, directive
    for forbidden in ("run:", "script:", "lambda wildcards: config", "retries:"):
        assert forbidden not in body, forbidden
    if name != "fetch_weights":
        assert re.search(r"settings=(settings_file\(\"|generator_settings|classifier_settings)", body), (
            "a file of settings"
        )
        assert " --settings {input.settings:q}" in command_line(body)
    command = command_line(body).removeprefix("{params.job} ")  # whose job it is
    command = command.removeprefix("{params.launch}")  # torchrun, where several processes train
    assert command.startswith(f"lddm {name.replace('_', '-')} "), "the command is named as the rule"
    assert command.endswith("> {log:q} 2>&1"), "all that a job says is in its log"
    assert command.count("lddm ") == 1 and "|" not in command and ";" not in command


@pytest.mark.parametrize(("stage", "name", "body"), JOBS, ids=[name for _, name, _ in JOBS])
def test_rule_uses_options_that_its_verb_has(stage: str, name: str, body: str):
    used = set(re.findall(r" (--[a-z-]+)", command_line(body)))
    used |= {f"--{option}" for option in re.findall(r'[ =]option\("([a-z-]+)"', body)}
    used |= {"--synthetic", "--shards"} if "synthetic_option" in body else set()
    assert used <= commands()[name.replace("_", "-")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rule_file_opens_with_purpose_needs_makes(path: Path):
    head = path.read_text().split('"""')[1]
    assert "\nNeeds: " in head and "\nMakes: " in head
    assert path.stem == "common" or "\nSettings: " in head


def test_each_table_and_figure_is_in_the_report_of_snakemake_with_caption_category_and_labels():
    text = (WORKFLOW / "rules/report.smk").read_text()
    entries = re.findall(r'report\(\s+f"([^"]+)",(.*?\}),\s+\)', text, re.DOTALL)
    assert {path for path, _ in entries} == set(re.findall(r'f"(\{RESULTS\}/(?:tables|figures)/[^"]+\.\w+)"', text))
    captions = {"workflow.rst"}  # the first page's
    for path, body in entries:
        assert re.search(r'category="[A-Z].*labels=\{"what": "[^"]+", "kind": "[^"]+"\}', body, re.DOTALL), path
        captions.add(re.search(r'caption="../report/([^"]+)"', body)[1])
    assert captions == {path.name for path in (WORKFLOW / "report").glob("*.rst")}


def test_snakefile_is_a_table_of_contents():
    text = (WORKFLOW / "Snakefile").read_text()
    assert len(text.splitlines()) <= 60
    assert set(re.findall(r"rules/(\w+)\.smk", text)) == {path.stem for path in FILES}
