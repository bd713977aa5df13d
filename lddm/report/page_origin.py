"""Origin of the results, for the page: data, leak report, provenance, settings, jobs."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from typing import Any

from lddm.report.parts import Cell, Table, number
from lddm.report.provenance import code_versions
from lddm.report.results import Results, flat
from lddm.settings.stages import whole

SHOWN = 8  # maximum number of leftovers listed


def data_table(found: Results) -> Table:
    """Files, patients and exclusions by source and kind."""
    lines: list[list[Cell | str]] = []
    for (source, kind, name), part in found.videos().groupby(["source", "kind", "class_name"], dropna=False, sort=True):
        usable = part[part["excluded"].isna()]
        reasons = part["excluded"].dropna().str.split(":").str[0].value_counts()
        why = "; ".join(f"{reason}: {count}" for reason, count in reasons.items()) or "–"
        counts = str(len(part)), str(len(usable)), str(usable["patient_id"].nunique())
        lines.append([f"{source}, {kind}, {name}", *counts, why])
    return Table("Files", ["source, kind, class", "files", "used", "patients", "excluded"], lines)


def data_facts(found: Results) -> list[str]:
    """Size and rate of the clips and, for a regression, the distribution of the target."""
    meta, task, videos = found.meta(), found.task(), found.videos()
    size = f"{meta['size']} x {meta['size']} pixels"
    facts = [f"{size}, {meta['fps']:g} Hz, clips of x0 and {meta['clip_length']} frames."]
    if task.is_regression:
        targets = videos.loc[videos["excluded"].isna(), "label"]
        values = " / ".join(f"{value:.3g}" for value in targets.quantile([0, 0.25, 0.5, 0.75, 1]))
        facts.append(f"Target: {task.said()}; minimum, quartiles and maximum of the used files: {values}.")
    return facts


def leaks(found: Results) -> list[str]:
    """Lines of the leak report, i.e. whether file metadata predict the class; none if the package has no such report."""
    if "lddm.data.leaks" not in sys.modules and find_spec("lddm.data.leaks") is None:
        return []
    try:
        from lddm.data.leaks import leak_report, with_classes
    except ImportError as missing:
        return [f"No leak report ({missing} in the environment of this rule)."]
    return leak_report(*with_classes(found.videos(), found.task())).lines()


def provenance(found: Results) -> list[str]:
    """Pipeline, code and inputs, with references to more information."""
    jobs, videos = found.jobs(), found.videos()
    experiment = found.plan.settings.experiment
    hosts = sorted({f"{job['host'].get('name', '?')} ({job['host'].get('cpus', '?')} CPUs)" for job in jobs})
    pythons = sorted({f"Python {job['host'].get('python', '?')}" for job in jobs})
    minutes = sum(job["duration_s"] for job in jobs) / 60
    facts = [
        f"Pipeline {found.pipeline()} of experiment {experiment}: {len(jobs)} jobs, {minutes:.1f} minutes of job time on "
        f"{', '.join(hosts) or '–'}; {', '.join(pythons) or '–'}.",
        _code(jobs),
        f"{len(videos)} input files with SHA-256 and licence ({', '.join(sorted(videos['licence'].dropna().unique()))}), "
        "package versions and the SHA-256 of every output: provenance.json.",
        f"To check that the files are unchanged: lddm verify {shlex.quote(str(found.root))}.",
        "Numbers: tables/quality.csv, tables/classification.csv, tables/comparisons.csv. Jobs: records/.",
    ]
    if left := found.leftovers():
        names = ", ".join(left[:SHOWN]) + (f" and {len(left) - SHOWN} more" if len(left) > SHOWN else "")
        facts.append(f"Leftovers of earlier settings in the folder, not part of this report: {names}.")
    return facts


def _code(jobs: list[dict[str, Any]]) -> str:
    """Code versions of all jobs, and whether they differ."""
    versions = code_versions(jobs)
    named = [f"{code_name(version)} ({version['jobs']} jobs)" for version in versions]
    if len(versions) > 1:
        return f"The jobs were run with {len(versions)} different versions of the code: {'; '.join(named)}."
    return f"Code of all jobs: {named[0]}." if named else "No job has a record."


def code_name(version: dict[str, Any]) -> str:
    """Code version as text, e.g. "lddm 0.1.0, commit 0123456789ab with changes, modules fedcba987654"."""
    commit = f", commit {version['commit'][:12]}" if version.get("commit") else ""
    changed = " with changes" if version.get("changed") else ""
    modules = f", modules {version['sha256']}" if version.get("sha256") else ", commit not recorded"
    return f"lddm {version['lddm']}{commit}{changed}{modules}"


def settings_table(found: Results) -> Table:
    """All settings by key."""
    values = flat(whole(found.plan.settings))
    lines: list[list[Cell | str]] = [[key, str(value)] for key, value in sorted(values.items())]
    return Table(f"Settings ({len(lines)})", ["key", "value"], lines)


def jobs_table(found: Results) -> Table:
    """All jobs with duration and code version."""
    lines: list[list[Cell | str]] = [
        [
            " ".join([job["rule"], *(f"{key}={value}" for key, value in job["wildcards"].items())]),
            number(job["duration_s"]),
            str(job["attempt"]),
            job["started"][:19],
            _short(job),
        ]
        for job in found.jobs()
    ]
    return Table(f"Jobs ({len(lines)})", ["job", "seconds", "attempt", "started (UTC)", "code"], lines)


def _short(job: dict[str, Any]) -> str:
    code = job.get("code", {})
    return (code.get("commit") or "")[:12] or code.get("sha256") or f"lddm {job['host']['lddm']}"
