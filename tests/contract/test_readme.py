"""What the documents tell people to type would be understood."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from snakemake.cli import get_argument_parser

from lddm.cli import app
from lddm.data.fetch import DATASETS
from lddm.data.index import SOURCES
from lddm.files import read_json
from lddm.settings import Settings, build

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *(ROOT / f"{name}/README.md" for name in ("config", "results"))]
DOCUMENTS += [*sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob(".github/*.md"))]


def commands() -> list[tuple[str, str]]:
    """(document, command line) of every line in a sh block."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(path.name, line.split("#")[0].strip()) for line in lines if line.split("#")[0].strip()]
    return found


def inline_commands() -> list[tuple[str, str]]:
    """(document, command) of every `lddm ...`, `make ...`, `snakemake ...` or `python -m ...` between backticks."""
    found = []
    for path in DOCUMENTS:
        prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        lines = [" ".join(line.split()) for line in re.findall(r"`([^`]+)`", prose)]
        found += [
            (path.name, line)
            for line in lines
            if re.match(r"(\.venv/bin/)?(lddm|make|snakemake|python3? -m) [a-z-]", line)
        ]
    return found


def test_the_config_of_the_readme_is_understood_and_its_steps_are_five():
    text = (ROOT / "README.md").read_text()
    part = text.split("## Your own data, in five steps")[1].split("\n## ")[0]
    assert re.findall(r"^(\d)\. ", part, re.MULTILINE) == list("12345")
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", part, re.DOTALL)[1])
    settings = build.load(config)
    assert settings.experiment == "mine" and "`data/mine/patients.csv`" in part
    assert settings.index.sources[0].patients == "patients.csv" and settings.index.classes == ["benign", "malignant"]


def test_each_data_set_says_where_layout_licence_errors_and_checksum():
    text = (ROOT / "docs/data.md").read_text()
    for name in SOURCES.keys() | {"phantom"}:
        assert f"| `{name}` |" in text, name
    for name in DATASETS:
        part = " ".join(re.search(rf"^## [^\n]*`{name}`\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)[1].split())
        for word in ("Where", "Layout", "Licence", "Known errors", "Checksum"):
            assert f"- **{word}**" in part, (name, word)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_opens_with_the_first_commands():
    typed = [line for document, line in commands() if document == "README.md"]
    assert typed[:4] == ["make install", ".venv/bin/lddm animate still.png", "make run", "make test"]


def parse_lddm(words: list[str], prose: bool) -> None:
    """Fail unless the command has these options and takes these arguments; prose may name a command alone."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    parse(command, words, prose)


def parse(command, words: list[str], prose: bool) -> None:
    context = command.context_class(command)
    given, left, _ = command.make_parser(context).parse_args(list(words))
    assert not left, f"{left} is too much"
    if words or not prose:
        missing = [part.name for part in command.params if part.required and given.get(part.name) is None]
        assert not missing, f"{missing} must be given"


def parse_make(words: list[str]) -> None:
    """Fail unless the Makefile has the targets and asks for the variables."""
    text = (ROOT / "Makefile").read_text()
    asked = set(re.findall(r"^([A-Z]+) \?=", text, re.MULTILINE))
    assert {word.split("=")[0] for word in words if "=" in word} <= asked, words
    assert {word for word in words if "=" not in word and word not in ("-C", "lddm")} <= make_targets(), words


def parse_snakemake(words: list[str]) -> None:
    """Fail unless Snakemake and our settings know the options, and the configs and profiles are there (config/my.yaml is
    the reader's)."""
    given = get_argument_parser(profiles=[]).parse_args(words)
    assert {word.split("=")[0] for word in given.config or []} <= Settings.model_fields.keys(), words
    paths = [*(given.configfile or []), *(given.profile or [])]
    assert all((ROOT / path).exists() for path in paths if Path(path).name != "my.yaml"), paths


def parse_python(words: list[str], prose: bool) -> None:
    """Fail unless `-m MODULE` can be found and takes the arguments, and the files that pytest is given are there."""
    assert words[0] == "-m" and (found := importlib.util.find_spec(words[1])), words
    assert words[1] != "pytest" or (ROOT / words[2].split("::")[0]).exists(), words
    if words[1].startswith("benchmarks.") and "typer.run(main)" in Path(found.origin).read_text():
        one = typer.Typer()
        one.command()(importlib.import_module(words[1]).main)
        parse(typer.main.get_command(one), words[2:], prose)


@pytest.mark.parametrize(
    ("document", "line", "prose"), [(*c, False) for c in commands()] + [(*c, True) for c in inline_commands()]
)
def test_command_is_understood(document: str, line: str, prose: bool):
    words = [word for word in shlex.split(line) if word != "..."]
    while re.match(r"^[A-Z_]+=", words[0]):  # variables of the environment
        words = words[1:]
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        parse_make(words[1:])
    elif program == "lddm":
        parse_lddm(words[1:], prose)
    elif program == "snakemake":
        parse_snakemake(words[1:])
    elif program in ("python", "python3"):
        parse_python(words[1:], prose)
    else:
        assert program in {"conda", "git", "pip", "squeue"}, line


@pytest.mark.parametrize(
    "line",
    ["models export r --out v", "animate x.png --modle m", "weights lits", "verify a b", "verify", "tables a --out"],
)
def test_a_wrong_command_would_be_found(line: str):
    with pytest.raises(Exception):  # noqa: B017 - whichever part of typer notices
        parse_lddm(line.split(), prose=False)


@pytest.mark.parametrize(
    "line",
    [
        "make phantom",
        "make run DATUM=x",
        "snakemake --cores all --config data_rot=x",
        "snakemake --configfile config/none.yaml",
        "python -m benchmarks.none",
        "python -m benchmarks.texture results/mine --oout x",
    ],
)
def test_a_wrong_line_would_be_found(line: str):
    with pytest.raises((Exception, SystemExit)):  # noqa: B017 - of typer or Snakemake
        test_command_is_understood("", line, prose=False)


def test_times_in_the_readme_are_those_measured_last():
    text = " ".join((ROOT / "README.md").read_text().split())
    measured = read_json(ROOT / "benchmarks/measured_run.json")
    for target in ("install", "run", "test"):
        minutes = float(re.search(rf"make {target}` takes about (\d+) minutes", text)[1])
        assert 0.5 <= minutes * 60 / measured[f"{target}_s"] <= 2, target
    assert f"{measured['largest_process_gb']:g} GB of memory" in text


def test_reliability_names_tests_that_exist():
    text = (ROOT / "docs/reliability.md").read_text()
    rows = [line.split("|")[-2] for line in text.splitlines() if line.startswith("| ") and "`" in line.split("|")[-2]]
    assert len(rows) > 30
    for name in re.findall(r"`([^`]+)`", " ".join(rows)):
        assert (ROOT / name).exists() or list((ROOT / "tests").rglob(name)), name


def test_citation_and_workflow_card():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["authors"][0]["name"]
    assert {"message", "title", "license", "version", "date-released"} <= citation.keys()
    assert all({"type", "title", "authors"} <= reference.keys() for reference in citation["references"])
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"] and usage["mandatory-flags"]["flags"] == ""  # none on a CPU


def test_make_help_explains_every_target():
    text = (ROOT / "Makefile").read_text()
    wanted = {"run", "test", "lint", "study-lung", "bench", "report", "ui", "clean"}
    assert wanted <= set(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE))


def test_tree_map_names_what_is_there():
    block = next(part for part in re.findall(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL))
    for line in block.splitlines():
        name = line.split()[0]
        indent = len(line) - len(line.lstrip())
        parent = ROOT if indent == 0 else ROOT / "lddm"
        assert (parent / name).exists(), name
