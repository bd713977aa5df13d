"""Container recipes, continuous integration and hooks run what the Makefile runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PIP = re.compile(r"python(?:\"|) -m pip install ([^\n]*)")


def recipe(target: str) -> str:
    return re.search(rf"^{target}:.*?\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]


def pip_options(text: str) -> list[set[str]]:
    """The options of each `pip install`, without those that only change what is printed or cached."""
    quiet = {"--quiet", "--disable-pip-version-check", "--no-cache-dir", "-e"}
    return [set(line.split()) - quiet for line in PIP.findall(text)]


def docker_instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def definition() -> dict[str, str]:
    """Sections of the Apptainer recipe; the head under ""."""
    head, *sections = re.split(r"^%", (ROOT / "lddm.def").read_text(), flags=re.MULTILINE)
    return {"": head} | {name: body for name, _, body in (section.partition("\n") for section in sections)}


def test_the_images_install_the_lock_as_make_does():
    runs = "\n".join(text for kind, text in docker_instructions() if kind == "RUN")
    wanted = pip_options(recipe(r"\$\(STAMP\)"))
    assert len(wanted) == 2 and {"--no-deps", "-r", "requirements.lock"} == wanted[0]
    assert pip_options(runs) == wanted == pip_options(definition()["post"])


def test_the_images_hold_the_same_files_and_these_exist():
    copied = [text.split()[:-1] for kind, text in docker_instructions() if kind == "COPY"]
    names = {name for line in copied for name in line}
    files = dict(line.split() for line in definition()["files"].strip().splitlines())
    assert names == set(files) and all((ROOT / name).exists() for name in names)
    assert all(target == f"/opt/lddm/{name}" for name, target in files.items())
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert names == allowed, "what .dockerignore leaves out cannot be copied"


def test_both_images_begin_with_the_same_python():
    (image,) = (text for kind, text in docker_instructions() if kind == "FROM")
    assert re.search(r"^From: (\S+)$", definition()[""], re.MULTILINE)[1] == image == "python:3.11-slim"
    assert [kind for kind, _ in docker_instructions()][-1] == "CMD"
    for name in ("post", "runscript", "test", "environment"):
        subprocess.run(["sh", "-n"], input=definition()[name], text=True, check=True)


def steps(path: Path) -> list[str]:
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_targets_of_the_makefile(path: Path):
    for line in steps(path):
        for command in line.split(" && "):
            words = command.split()
            if words[0] == "make":
                assert set(words[1:]) <= TARGETS, line
            elif words[:4] == [".venv/bin/python", "-m", "pytest", "--quiet"]:
                assert all((ROOT / word).exists() for word in words[4:]), line
            else:
                assert words[:2] == ["sudo", "apt-get"], line


def test_ci_has_a_job_for_each_part_and_writes_nothing():
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert set(ci["jobs"]) == {"lint", "unit", "smoke", "docs", "wheel"}
    done = {line for path in WORKFLOWS for line in steps(path)}
    assert {"make lint", "make test", "make smoke", "make dist", "make test-slow"} <= done
    for path in WORKFLOWS:
        flow = yaml.safe_load(path.read_text())
        assert flow["permissions"] == {"contents": "read"} and flow[True]  # YAML 1.1 reads `on` as true
        for job in flow["jobs"].values():
            assert job["timeout-minutes"] and job["steps"][0]["uses"].startswith("actions/checkout@")
    assert re.findall(r"^ {4}(make \S+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE) == [
        "make lint",
        "make test",
        "make test-slow",
    ]


def test_hooks_are_those_of_make_lint():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {hook["entry"].removeprefix(".venv/bin/") for hook in repo["hooks"]}
    lines = re.findall(r'"\$\(BIN\)/([\w-]+)"(.*)', recipe("lint"))
    documents = " ".join(sorted(path.name for path in ROOT.glob("*.md")))
    wanted = {
        f"{tool}{rest}".replace("*.md", documents) for tool, rest in lines if tool != "snakemake"
    }  # takes seconds
    assert {" ".join(sorted(one.split())) for one in hooks} == {" ".join(sorted(one.split())) for one in wanted}


def test_templates_and_updates_are_valid():
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*_*.yml"):
        form = yaml.safe_load(path.read_text())
        assert form["name"] and form["description"]
        fields = [part for part in form["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in fields}) == len(fields) and all(
            part["attributes"]["label"] for part in fields
        )
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    assert {part["package-ecosystem"] for part in updates} == {"pip", "github-actions", "docker"}
    text = (ROOT / ".github/PULL_REQUEST_TEMPLATE.md").read_text()
    for name in re.findall(r"`([\w./]+\.(?:md|toml|in|lock))`", text):
        assert (ROOT / name).exists(), name


APPTAINER = """#!{python}
import os, subprocess, sys
words = sys.argv[1:]
if words == ["--version"]:
    sys.exit(print("apptainer version 1.3.4"))
with open("{log}", "a") as log:
    log.write(" ".join(words) + "\\n")
image = next(at for at, word in enumerate(words) if word.endswith(".sif"))
sys.exit(subprocess.run(words[image + 1 :]).returncode)
"""


@pytest.mark.faults
def test_jobs_run_in_the_image_with_sdm_apptainer(tmp_path):
    """A stand-in for apptainer notes its command line and runs the job's command outside any image."""
    bin_folder, log = tmp_path / "bin", tmp_path / "asked"
    bin_folder.mkdir()
    for name in ("apptainer", "singularity"):
        (bin_folder / name).write_text(APPTAINER.format(python=sys.executable, log=log))
        (bin_folder / name).chmod(0o755)
    image = tmp_path / "lddm.sif"
    image.write_bytes(b"")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--sdm", "apptainer", "--directory", str(tmp_path)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config/smoke.yaml")]
    path = f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = os.environ | {"PATH": path, "LDDM_CONTAINER": str(image), "LDDM_TRACKING": "off"}
    target = "results/smoke/data/index.parquet"
    done = subprocess.run([*command, "--", target], env=variables, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert (tmp_path / target).is_file() and "exec" in log.read_text() and str(image) in log.read_text()
