"""--use-conda with a stand-in for conda: the environments are really built from their files and really used.

The stand-in makes a virtual environment and installs the file's pip section into it; where torch is asked for, it lends
the packages of the running Python instead, whose versions must be those of the file. That conda channels solve the files is
not tested: it refuses any conda package but python and pip.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from whole_runs import ROOT, configfiles, environment

from lddm.files import read_json

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
CONDA = """#!{python}
import importlib.metadata, json, pathlib, subprocess, sys, yaml
arguments = sys.argv[1:]
with open("{log}", "a") as log:
    log.write(" ".join(arguments) + "\\n")
if arguments == ["--version"]:
    print("conda 25.1.0")
elif arguments[:1] == ["info"]:
    print(json.dumps({{"conda_prefix": "{root}", "platform": "linux-64", "envs": [], "root_prefix": "{root}"}}))
elif arguments[:1] == ["config"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif arguments[:2] == ["env", "create"]:
    file, prefix = (arguments[arguments.index(name) + 1] for name in ("--file", "--prefix"))
    pins = []
    for entry in yaml.safe_load(open(file))["dependencies"]:
        if isinstance(entry, dict):
            pins += entry["pip"]
        elif entry.split("=")[0] not in ("python", "pip"):
            sys.exit("the stand-in cannot install " + entry)
    heavy = any(pin.startswith("torch==") for pin in pins)
    own = ["--without-pip"] if heavy else []  # pip comes with an older setuptools, which would go before the lent one
    subprocess.run(["{base}", "-m", "venv", *own, prefix], check=True)
    if not heavy:
        subprocess.run([prefix + "/bin/python", "-m", "pip", "install", "--quiet", *pins], check=True)
    else:
        for pin in pins:
            name, version = pin.split("==")
            if importlib.metadata.version(name) != version:
                sys.exit("the running Python has another version than " + pin)
        (place,) = pathlib.Path(prefix).glob("lib/python*/site-packages")
        (place / "lent.pth").write_text("{lent}\\n")
"""
ACTIVATE = """echo activate "$1" >> {log}
export CONDA_PREFIX="$1" VIRTUAL_ENV="$1" PATH="$1/bin:$PATH"
"""


@pytest.fixture
def conda(tmp_path):
    """Folder with the stand-in `conda`, to be put on PATH."""
    place = tmp_path / "conda/bin"
    place.mkdir(parents=True)
    base = Path(sys.base_prefix) / "bin/python3"
    root, log = place.parent, tmp_path / "conda.log"
    lent = sysconfig.get_path("purelib")
    (place / "conda").write_text(CONDA.format(python=sys.executable, base=base, root=root, log=log, lent=lent))
    (place / "activate").write_text(ACTIVATE.format(log=log))
    (place / "conda").chmod((place / "conda").stat().st_mode | stat.S_IXUSR)
    return place


@pytest.fixture
def checkout(tmp_path):
    """A copy of what a clone holds, so that an environment installs from there."""
    place = tmp_path / "checkout"
    place.mkdir()
    for name in ("lddm", "workflow", "config"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "pyproject.toml", "requirements.in", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, place / name)
    return place


def use_conda(checkout: Path, conda: Path, *arguments: str) -> tuple[dict, Path]:
    """Run the workflow; the file of the one environment that it made, and the environment's folder."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--use-conda", *configfiles(checkout)]
    variables = environment()
    variables["PATH"] = os.pathsep.join([str(conda), variables["PATH"]])
    variables["PYTHONPATH"] = str(checkout)  # for Snakemake itself: plan with the code of this checkout
    done = subprocess.run([*command, *arguments], cwd=checkout, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    (file,) = (checkout / ".snakemake/conda").glob("*.yaml")
    return yaml.safe_load(file.read_text()), file.with_suffix("")


def finds_lddm_in(checkout: Path, python: Path) -> bool:
    where = [python, "-c", "import lddm; print(lddm.__file__)"]
    found = subprocess.run(where, cwd=checkout.parent, capture_output=True, text=True, check=True).stdout
    return Path(found.strip()).is_relative_to(checkout)


def test_a_rule_of_the_report_runs_in_an_environment_without_torch(finished, checkout, conda):
    shutil.copytree(finished / "results", checkout / "results")
    target = ["--allowed-rules", "page", "--forcerun", "page", "--", "results/smoke/report.html"]
    file, made = use_conda(checkout, conda, *target)
    assert file == yaml.safe_load((ROOT / "workflow/envs/report.yaml").read_text())
    assert finds_lddm_in(checkout, made / "bin/python")  # put there by the post-deploy script
    assert subprocess.run([made / "bin/python", "-c", "import torch"], capture_output=True).returncode != 0
    records = sorted((checkout / "results/smoke/records/page").glob("*/*/record.json"), key=lambda p: p.parent.name)
    assert len(records) == 2 and read_json(records[-1])["status"] == "FINISHED"


def test_rules_that_work_on_data_run_in_the_heavy_environment(checkout, conda, tmp_path):
    file, made = use_conda(checkout, conda, "--", "results/smoke/data/splits.parquet")
    assert file == yaml.safe_load((ROOT / "workflow/envs/lddm.yaml").read_text())
    assert finds_lddm_in(checkout, made / "bin/python")
    assert str(made) in (made / "bin/lddm").read_text()  # the command that its jobs find first
    records = [read_json(path) for path in (checkout / "results/smoke/records").glob("*/*/*/record.json")]
    assert {record["rule"]: record["status"] for record in records} == dict.fromkeys(
        ("index", "preprocess", "split"), "FINISHED"
    )
    assert (tmp_path / "conda.log").read_text().count(f"activate {made}") >= len(records)
