"""A sandbox for whole pipelines: Snakemake in a temporary folder, with a pretended `lddm` that makes empty outputs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

# Makes what a verb promises, with the verb's own command line as content; fails for FAIL_VERB.
PRETENDED_LDDM = """#!{python}
import os, sys, yaml
from pathlib import Path

verb, arguments = sys.argv[1], sys.argv[2:]
told = " ".join(f"{{name}}={{os.environ.get(name)}}" for name in {told!r})
with open("verbs.log", "a") as file:
    print(verb, *arguments, file=file)
with open("environment.log", "a") as file:
    print(verb, told, file=file)
if verb == os.environ.get("FAIL_VERB"):
    sys.exit("error: pretended failure")
options = dict(zip(arguments, arguments[1:]))
if verb == "track":
    sys.exit(0)
names = {{
    "preprocess": ["frames.npy", "videos.parquet", "clips.parquet", "meta.json"],
    "train-generator": ["bundle.json", "generator.safetensors", "autoencoder.safetensors", "MODEL_CARD.md"],
    "tabulate": [f"{{name}}.csv" for name in {tables!r}],
    "figures": {figures!r},
}}.get(verb, [])
if verb == "classify":
    settings = yaml.safe_load(open(options["--settings"]))
    names = [f"seed-{{seed}}.json" for seed in range(settings["classification"]["seeds"])]
made = [Path(options["--out-dir"]) / name for name in names] if names else [Path(options["--out"])]
if verb == "figures":
    made.append(Path(options["--out-dir"]) / "loops/loop-0.webp")
if verb == "summarize":
    made += [made[0].with_name(name) for name in ("provenance.json", "scorecard.html")]
if verb == "score":
    made.append(Path(options["--copies"]))
if verb == "synthesize":
    made.append(made[0].with_suffix(".parquet"))
for path in made:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join([verb, *arguments]))
"""


TABLES = [
    "quality",
    "quality_comparisons",
    "memorisation",
    "classification",
    "comparisons",
    "transfer",
    "sweep",
    "sweep_comparisons",
]

# What a rule tells its job beside the command line.
TOLD = ("LDDM_EXPERIMENT", "LDDM_PIPELINE", "LDDM_TRACKING")


@dataclass
class Pipeline:
    """Snakemake on this checkout's workflow, run in `folder`."""

    folder: Path
    environment: dict[str, str]

    def run(
        self,
        *arguments: str,
        config: dict | None = None,
        configfile: str | None = None,
        snakefile: Path = ROOT / "Snakefile",
        **environment: str,
    ):
        """Run `snakemake`; `config` is merged over `configfile` (a name in config/), as a file of a user would be."""
        files = [str(ROOT / "config" / configfile)] if configfile else []
        if config is not None:
            own = self.folder / "own.yaml"
            own.write_text(yaml.safe_dump(config))
            files.append(str(own))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--cores", "2"]
        command += ["--directory", str(self.folder), *arguments]
        command += ["--configfile", *files] if files else []
        return subprocess.run(
            command, cwd=ROOT, env=self.environment | environment, capture_output=True, text=True, timeout=300
        )

    def planned(self, *arguments: str, **options) -> dict[str, int]:
        """Rule -> number of jobs that a dry run announces."""
        done = self.run(*arguments, "--dry-run", "--quiet", "rules", **options)
        assert done.returncode == 0, done.stderr + done.stdout
        text = done.stdout + done.stderr
        if "Job stats:" not in text:
            assert "Nothing to be done" in text, text
            return {}
        table = text.rsplit("Job stats:", 1)[1].split("total", 1)[0]
        return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}

    def commands(self, *targets: str, **options) -> list[str]:
        """Shell commands that a dry run announces."""
        done = self.run(*targets, "--dry-run", "--printshellcmds", **options)
        assert done.returncode == 0, done.stderr + done.stdout
        return [line for line in (done.stdout + done.stderr).splitlines() if " lddm " in line and "reason:" not in line]

    def verbs(self) -> list[str]:
        """Command lines that the pretended `lddm` got, in order."""
        log = self.folder / "verbs.log"
        return log.read_text().splitlines() if log.exists() else []

    def told(self) -> list[dict[str, str]]:
        """What the rules told their jobs beside the command line, in the same order."""
        lines = (self.folder / "environment.log").read_text().splitlines()
        return [dict(word.split("=", 1) for word in line.split()[1:]) for line in lines]


def figure_names() -> list[str]:
    """Files that rules/report.smk expects from `lddm figures`."""
    return re.findall(r"/figures/([\w-]+\.\w+)\"", (ROOT / "workflow/rules/report.smk").read_text())


def pretend(folder: Path) -> Pipeline:
    """Put the pretended `lddm` and the configs into `folder`."""
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "lddm"
    program.write_text(PRETENDED_LDDM.format(python=sys.executable, figures=figure_names(), tables=TABLES, told=TOLD))
    program.chmod(0o755)
    shutil.copytree(ROOT / "config", folder / "config")
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    return Pipeline(folder, os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)})
