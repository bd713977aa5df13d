"""What the documents tell people to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from lddm.cli import app
from lddm.files import read_json

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]


def commands() -> list[tuple[str, str]]:
    """(document, command line) of every line in a sh block."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(path.name, line.split("#")[0].strip()) for line in lines if line.split("#")[0].strip()]
    return found


def inline_commands() -> list[tuple[str, str]]:
    """(document, command) of every `lddm ...`, `make ...` or `snakemake ...` between backticks."""
    pattern = r"`((?:lddm|make|snakemake) (?:-[^`\n]+|[a-z][^`\n]*))`"
    return [(path.name, line) for path in DOCUMENTS for line in re.findall(pattern, path.read_text())]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_opens_with_the_two_commands():
    typed = [line for document, line in commands() if document == "README.md"]
    assert typed[:2] == ["make run", "make test"]


@pytest.mark.parametrize(("document", "line"), commands() + inline_commands())
def test_command_exists(document: str, line: str):
    words = [word for word in shlex.split(line) if not re.match(r"^[A-Z_]+=", word) and word != "..."]
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        assert {word for word in words[1:] if "=" not in word and word not in ("-C", "lddm")} <= make_targets()
    elif program == "lddm":
        command = typer.main.get_command(app).commands[words[1]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words[2:] if word.startswith("--")} <= options
    elif program == "snakemake":
        for flag, value in zip(words, words[1:], strict=False):
            if flag in ("--configfile", "--profile") and not value.startswith("config/my"):
                assert (ROOT / value).exists(), value
    else:
        assert program in {"conda", "git", "pip", "python3", "squeue"}, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path):
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        assert link.startswith("http") or (path.parent / link).exists(), link


def test_times_in_the_readme_are_those_measured_last():
    text = " ".join((ROOT / "README.md").read_text().split())
    measured = read_json(ROOT / "benchmarks/measured_run.json")
    for target in ("install", "run", "test"):
        minutes = float(re.search(rf"make {target}` takes about (\d+) minutes", text)[1])
        assert 0.5 <= minutes * 60 / measured[f"{target}_s"] <= 2, target
    assert f"{measured['largest_process_gb']:g} GB of memory" in text


def test_reliability_counts_its_rows_and_names_tests_that_exist():
    text = (ROOT / "docs/reliability.md").read_text()
    rows = [line.split("|")[-2] for line in text.splitlines() if line.startswith("| ") and "`" in line.split("|")[-2]]
    assert f"{len(rows)} cases tried, {len(rows)} held" in text
    for name in re.findall(r"`([^`]+)`", " ".join(rows)):
        assert (ROOT / name).exists() or list((ROOT / "tests").rglob(name)), name


def test_citation_and_workflow_card():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["title"] and citation["authors"] and citation["license"]
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"] and "--resources gpu=" in usage["mandatory-flags"]["flags"]


def test_make_help_explains_every_target():
    text = (ROOT / "Makefile").read_text()
    wanted = {"run", "test", "lint", "study-lung", "bench", "report", "ui", "clean"}
    assert wanted <= set(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE))


def test_tree_map_names_what_is_there():
    block = next(part for part in re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    for line in block.splitlines():
        name = line.split()[0]
        indent = len(line) - len(line.lstrip())
        parent = ROOT if indent == 0 else ROOT / "lddm"
        assert (parent / name).exists(), name
