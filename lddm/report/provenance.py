"""provenance.json: inputs, code, jobs and outputs of an experiment with checksums; writing and verification."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from lddm.errors import LddmError
from lddm.files import read_json, sha256, write_json
from lddm.report.results import Results, relative_name
from lddm.settings import Settings
from lddm.settings.stages import whole
from lddm.tracking.code_version import code_version

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn", "diffusers", "FrEIA", "av", "snakemake")
SHOWN = 20  # targets in the hint of `verify`
REPAIRED = ("missing", "changed")
OWN = "summarize"  # the rule that writes the file, whose earlier outputs are about to be replaced


def write_provenance(results: Path, settings: Settings, out: Path) -> None:
    """Collect the newest finished record of each job, checksums of the inputs, versions, and the code version.

    Call this last, because the checksum of summary.json, which the same rule writes beside `out`, is included.

    Args:
        results: results/<experiment>.
        settings: the whole config; jobs and outputs of earlier settings are excluded.
        out: the file to write.
    """
    found = Results(results, settings)
    jobs = [job for job in found.jobs() if job["rule"] != OWN]
    outputs = {
        relative_name(output, job): {"sha256": output["sha256"], "size": output["size"], "target": output["path"]}
        for job in jobs
        for output in job["outputs"]
        if found.plan.makes(relative_name(output, job))
    }
    summary = out.with_name("summary.json")
    if summary.is_file():
        outputs["summary.json"] = {
            "sha256": sha256(summary), "size": summary.stat().st_size, "target": str(summary)
        }  # fmt: skip
    write_json(
        out,
        {
            "experiment": settings.experiment,
            "pipeline": found.pipeline(),
            "code": code_version(),
            "versions": code_versions(jobs),
            "packages": {name: _version(name) for name in PACKAGES},
            "settings": whole(settings),
            "inputs": _inputs(found.videos()),
            "jobs": [
                {key: job[key] for key in ("rule", "wildcards", "attempt", "started", "duration_s")}
                | {"code": job.get("code", {"lddm": job["host"]["lddm"]})}
                | {"outputs": [relative_name(output, job) for output in job["outputs"]]}
                for job in jobs
            ],
            "outputs": dict(sorted(outputs.items())),
        },
    )


def code_versions(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Code versions of the jobs, with the number of jobs of each, most frequent first."""
    counts = Counter(json.dumps(job.get("code", {"lddm": job["host"]["lddm"]}), sort_keys=True) for job in jobs)
    return [json.loads(text) | {"jobs": count} for text, count in counts.most_common()]


def verify(results: Path) -> dict[str, str]:
    """Compare the outputs with provenance.json.

    Args:
        results: results/<experiment>, at its current location.

    Returns:
        Path relative to `results` -> "missing", "changed", or "newer" if a later job regenerated the file; empty if
        nothing differs.

    Raises:
        LddmError: provenance.json is missing or lists no output.
    """
    differing = {}
    for name, entry in _noted(results).items():
        path = results / name
        if not path.is_file():
            differing[name] = "missing"
        elif (digest := sha256(path)) != entry["sha256"]:
            differing[name] = "newer" if digest in _recorded(results, name) else "changed"
    return differing


def repair_hint(results: Path, differing: dict[str, str]) -> str:
    """Hint with the command that regenerates the files that differ according to `verify`."""
    noted = _noted(results)
    targets = {what: [noted[name]["target"] for name in differing if differing[name] == what] for what in REPAIRED}
    if not any(targets.values()):
        return "run the workflow to its end, which updates the report"
    wanted = [target for part in targets.values() for target in part]
    command = ["snakemake", "--cores", "all", *wanted[:SHOWN]]
    command += ["--forcerun", *targets["changed"][:SHOWN]] if targets["changed"] else []
    more = f" (and {len(wanted) - SHOWN} more of those above)" if len(wanted) > SHOWN else ""
    return f"in the folder of the run, with its --configfile and --config: {shlex.join(command)}{more}"


def _noted(results: Path) -> dict[str, dict[str, Any]]:
    """Outputs in provenance.json by path relative to the results folder."""
    content = read_json(results / "provenance.json")
    before = f"results/{content.get('experiment')}/"  # lddm 0.1.0 stored paths below the working directory
    noted = {name.removeprefix(before): {"target": name} | entry for name, entry in content["outputs"].items()}
    if not noted:
        raise LddmError(f"{results / 'provenance.json'} lists no output", "run the rule summarize again")
    return noted


def _recorded(results: Path, name: str) -> set[str]:
    """SHA-256 digests of a file in all finished records of its jobs."""
    records = (read_json(path) for path in results.glob("records/*/*/*/record.json"))
    return {
        output["sha256"]
        for record in records
        if record["status"] == "FINISHED"
        for output in record["outputs"]
        if relative_name(output, record) == name
    }


def _inputs(videos: pd.DataFrame) -> list[dict[str, Any]]:
    """Raw files: id, checksum, licence and exclusion reason."""
    columns = [name for name in ("id", "source", "sha256", "licence", "excluded") if name in videos]
    return videos[columns].astype(object).where(videos[columns].notna(), None).to_dict(orient="records")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
