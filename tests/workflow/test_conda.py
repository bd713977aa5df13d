"""--use-conda with a stand-in for conda: the environments are really built from their files and really used.

The stand-in makes a virtual environment and installs the file's pip section into it. That conda channels solve the files
is not tested: it refuses any conda package but python and pip.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from whole_runs import ROOT, environment

from lddm.files import read_json

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
CONDA = """#!{python}
import json, pathlib, subprocess, sys, yaml
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
    subprocess.run(["{base}", "-m", "venv", prefix], check=True)
    subprocess.run([prefix + "/bin/python", "-m", "pip", "install", "--quiet", *pins], check=True)
"""
ACTIVATE = 'export CONDA_PREFIX="$1" VIRTUAL_ENV="$1" PATH="$1/bin:$PATH"\n'


@pytest.fixture
def conda(tmp_path):
    """Folder with the stand-in `conda`, to be put on PATH."""
    place = tmp_path / "conda/bin"
    place.mkdir(parents=True)
    base = Path(sys.base_prefix) / "bin/python3"
    root, log = place.parent, tmp_path / "conda.log"
    (place / "conda").write_text(CONDA.format(python=sys.executable, base=base, root=root, log=log))
    (place / "activate").write_text(ACTIVATE)
    (place / "conda").chmod((place / "conda").stat().st_mode | stat.S_IXUSR)
    return place


def test_a_rule_runs_in_the_environment_of_its_file(finished, conda, tmp_path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("lddm", "workflow", "config"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "pyproject.toml", "requirements.in", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, checkout / name)
    shutil.copytree(finished / "results", checkout / "results")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--use-conda", "--allowed-rules", "page"]
    command += ["--forcerun", "page", "--configfile", "config/smoke.yaml", "--", "results/smoke/report.html"]
    variables = environment()
    variables["PATH"] = os.pathsep.join([str(conda), variables["PATH"]])
    variables["PYTHONPATH"] = str(checkout)  # for Snakemake itself: plan with the code of this checkout
    done = subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]

    (environment_file,) = (checkout / ".snakemake/conda").glob("*.yaml")
    assert yaml.safe_load(environment_file.read_text()) == yaml.safe_load(
        (ROOT / "workflow/envs/report.yaml").read_text()
    )
    python = environment_file.with_suffix("") / "bin/python"
    where = [python, "-c", "import lddm; print(lddm.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(checkout)  # put there by the post-deploy script
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode != 0
    records = sorted((checkout / "results/smoke/records/page").glob("*/*/record.json"), key=lambda p: p.parent.name)
    assert len(records) == 2 and read_json(records[-1])["status"] == "FINISHED"
