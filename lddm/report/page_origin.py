"""Origin of the results, for the page: data, leak report, provenance, settings, jobs."""

from __future__ import annotations

import html
import shlex
import sys
from importlib.util import find_spec
from typing import Any

from lddm.report.html import bullets, folded, number, table
from lddm.report.provenance import code_versions
from lddm.report.results import Results, flat
from lddm.settings.stages import whole

LOUD = "WARNING"  # prefix of lines of the leak report that are highlighted
SHOWN = 8  # maximum number of leftovers listed


def data_table(found: Results) -> str:
    """Files, patients and exclusions by source and kind."""
    videos, lines = found.videos(), []
    for (source, kind, name), part in videos.groupby(["source", "kind", "class_name"], dropna=False, sort=True):
        usable = part[part["excluded"].isna()]
        reasons = part["excluded"].dropna().str.split(":").str[0].value_counts()
        why = "; ".join(f"{html.escape(str(reason))}: {count}" for reason, count in reasons.items())
        cells = [f"{source}, {kind}, {name}", len(part), len(usable), usable["patient_id"].nunique(), why or "–"]
        lines.append([html.escape(str(cell)) if place < 4 else cell for place, cell in enumerate(cells)])
    meta = found.meta()
    text = f"<p>{meta['size']} x {meta['size']} pixels, {meta['fps']:g} Hz, clips of x0 and {meta['clip_length']} frames.</p>"
    task = found.task()
    if task.is_regression:
        targets = videos.loc[videos["excluded"].isna(), "label"]
        values = " / ".join(f"{value:.3g}" for value in targets.quantile([0, 0.25, 0.5, 0.75, 1]))
        text += (
            f"<p>Target: {html.escape(task.said())}; minimum, quartiles and maximum of the used files: {values}.</p>"
        )
    return text + table(["source, kind, class", "files", "used", "patients", "excluded"], lines)


def leaks(found: Results) -> str:
    """Leak report: whether file metadata predict the class; "" if the package has no such report."""
    if "lddm.data.leaks" not in sys.modules and find_spec("lddm.data.leaks") is None:
        return ""
    try:
        from lddm.data.leaks import leak_report, with_classes
    except ImportError as missing:
        return f"<p>No leak report ({html.escape(str(missing))} in the environment of this rule).</p>"
    lines = leak_report(*with_classes(found.videos(), found.task())).lines()
    loud = "".join(f'<p class="note">{html.escape(line)}</p>' for line in lines if line.startswith(LOUD))
    return f"<h3>Classes and metadata</h3>{loud}" + bullets([line for line in lines if not line.startswith(LOUD)])


def provenance(found: Results) -> str:
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
    items = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    link = '<a href="http://127.0.0.1:5000">127.0.0.1:5000</a>'
    run = html.escape(f"experiment {experiment}, run “summary {found.pipeline()}”")
    return f"<ul>{items}<li>MLflow: “make ui”, then {link} (or your tracking server): {run}.</li></ul>"


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


def settings_and_jobs(found: Results) -> str:
    """All settings, and all jobs with duration and code version; collapsed."""
    values = flat(whole(found.plan.settings))
    settings = [[html.escape(key), html.escape(str(value))] for key, value in sorted(values.items())]
    jobs = [
        [
            html.escape(" ".join([job["rule"], *(f"{k}={v}" for k, v in job["wildcards"].items())])),
            number(job["duration_s"]),
            str(job["attempt"]),
            html.escape(job["started"][:19]),
            html.escape(_short(job)),
        ]
        for job in found.jobs()
    ]
    heading = ["job", "seconds", "attempt", "started (UTC)", "code"]
    return folded(f"Settings ({len(settings)})", table(["key", "value"], settings)) + folded(
        f"Jobs ({len(jobs)})", table(heading, jobs)
    )


def _short(job: dict[str, Any]) -> str:
    code = job.get("code", {})
    return (code.get("commit") or "")[:12] or code.get("sha256") or f"lddm {job['host']['lddm']}"
