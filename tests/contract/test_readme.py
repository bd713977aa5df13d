"""What the documents tell people to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from lddm.cli import app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [path for name in ("README.md", "CONTRIBUTING.md", "config/README.md") if (path := ROOT / name)]


def commands() -> list[tuple[str, str]]:
    """(document, command line) of every line in a sh block."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(path.name, line.split("#")[0].strip()) for line in lines if line.split("#")[0].strip()]
    return found


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_opens_with_the_two_commands():
    typed = [line for document, line in commands() if document == "README.md"]
    assert typed[:2] == ["make run", "make test"]


@pytest.mark.parametrize(("document", "line"), commands())
def test_command_exists(document: str, line: str):
    words = [word for word in shlex.split(line) if not re.match(r"^[A-Z_]+=", word)]
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        assert {word for word in words[1:] if "=" not in word} <= make_targets()
    elif program == "lddm":
        command = typer.main.get_command(app).commands[words[1]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words[2:] if word.startswith("--")} <= options
    elif program == "snakemake":
        for flag, value in zip(words, words[1:], strict=False):
            if flag in ("--configfile", "--profile") and not value.startswith("config/my"):
                assert (ROOT / value).exists(), value
    else:
        assert program in {"conda", "git", "pip", "python3"}, line


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
