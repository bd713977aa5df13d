"""Duration of an experiment from the first to the last job: config/lung.yaml at 128 px on simulated videos.

The videos are phantoms, matched in number and length to the lung collection: the times are representative of the real run,
the results are meaningless. Runs `snakemake --cores all` in a separate folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.timing import ROOT, TooLong, run_group
from lddm.files import read_json

# Differences to config/lung.yaml.
STAND_IN = {
    "experiment": "stand_in",
    "index": {
        "sources": [{"kind": "phantom", "videos": 180, "stills": 45, "size": 128, "frames": 33}],
        "classes": ["benign", "malignant"],
    },
    "preprocess": {"size": 128},
}
QUICK = {
    "index": {
        "sources": [{"kind": "phantom", "videos": 48, "stills": 24, "size": 32, "frames": 20}],
        "classes": ["benign", "malignant"],
    },
    "preprocess": {"size": 32},
    "split": {"min_patients": 2},
}
# The part to which the time limit applies: without classifiers, tables and pages.
TARGETS = ("cinn", "lddm", "reconstruction", "real")


def run(device: str, quick: bool, timeout: float, cores: str = "all") -> dict[str, Any]:
    """Measure the seconds from the start of the first job to the end of the last, and per rule.

    Returns:
        `whole_s`; `finished` (False if the time limit was reached; `rules` then has the completed ones); `rules`, seconds by
        rule.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copytree(ROOT / "config", folder / "config")
        (folder / "stand_in.yaml").write_text(yaml.safe_dump(STAND_IN | (QUICK if quick else {})))
        config = [str(ROOT / "config/lung.yaml"), *([str(ROOT / "config/smoke.yaml")] if quick else [])]
        targets = [f"results/stand_in/fold-0/quality/{name}.json" for name in TARGETS]
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", cores]
        command += ["--quiet", "all", "--directory", place, "--configfile", *config, str(folder / "stand_in.yaml")]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = os.environ | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "LDDM_OFFLINE": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        if device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        log = folder / "log.txt"
        finished = True
        try:
            with log.open("w") as said:
                whole = run_group(
                    [*command, "--", *targets], timeout, cwd=place, env=environment, stdout=said, stderr=said
                )
            if whole.returncode != 0:
                raise RuntimeError(log.read_text()[-3000:])
        except TooLong:
            finished = False
        return summary(folder / "results/stand_in") | {"finished": finished}


def summary(results: Path) -> dict[str, Any]:
    """Summarise the records of the jobs."""
    rules: dict[str, float] = {}
    began, ended = [], []
    for job in (read_json(path) for path in sorted((results / "records").glob("*/*/*/record.json"))):
        if not job.get("ended"):
            continue  # the job was stopped
        start, end = (_seconds(job[key]) for key in ("started", "ended"))
        rules[job["rule"]] = round(rules.get(job["rule"], 0) + end - start, 1)
        began.append(start)
        ended.append(end)
    return {"whole_s": round(max(ended) - min(began), 1) if ended else None, "rules": rules}


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


if __name__ == "__main__":
    print(json.dumps(run("cuda", "--quick" in sys.argv, 3600), indent=1))
