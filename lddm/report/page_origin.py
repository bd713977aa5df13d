"""Where the results come from, for the page: data, provenance, settings, jobs."""

from __future__ import annotations

import html

from lddm.report.html import folded, number, table
from lddm.report.results import Results


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
    return text + table(["source, kind, class", "files", "used", "patients", "excluded"], lines)


def provenance(found: Results) -> str:
    """What the results were made from, with and by, and where to look for more."""
    jobs, videos = found.jobs(), found.videos()
    hosts = sorted({f"{job['host'].get('name', '?')} ({job['host'].get('cpus', '?')} CPUs)" for job in jobs})
    versions = sorted({f"lddm {job['host']['lddm']}, Python {job['host'].get('python', '?')}" for job in jobs})
    minutes = sum(job["duration_s"] for job in jobs) / 60
    facts = [
        f"Pipeline {found.pipeline()} of experiment {found.root.name}: {len(jobs)} jobs, {minutes:.1f} minutes of job time on "
        f"{', '.join(hosts) or '–'}; {', '.join(versions) or '–'}.",
        f"{len(videos)} input files with SHA-256 and licence ({', '.join(sorted(videos['licence'].dropna().unique()))}), the "
        "commit of the code, package versions and the SHA-256 of every output: provenance.json.",
        f"Whether the files are still those: lddm verify results/{found.root.name}.",
        "Numbers: tables/quality.csv, tables/classification.csv, tables/comparisons.csv. Jobs: records/.",
    ]
    items = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    link = '<a href="http://127.0.0.1:5000">127.0.0.1:5000</a>'
    run = html.escape(f"experiment {found.root.name}, run “summary {found.pipeline()}”")
    return f"<ul>{items}<li>MLflow: “make ui”, then {link} (or your tracking server): {run}.</li></ul>"


def settings_and_jobs(found: Results) -> str:
    """All settings of the recorded jobs, and what ran how long with which version; folded up."""
    settings = [[html.escape(key), html.escape(str(value))] for key, value in sorted(found.settings().items())]
    jobs = [
        [
            html.escape(" ".join([job["rule"], *(f"{k}={v}" for k, v in job["wildcards"].items())])),
            number(job["duration_s"]),
            str(job["attempt"]),
            html.escape(job["started"][:19]),
            html.escape(job["host"]["lddm"]),
        ]
        for job in found.jobs()
    ]
    heading = ["job", "seconds", "attempt", "started (UTC)", "lddm"]
    return folded(f"Settings ({len(settings)})", table(["key", "value"], settings)) + folded(
        f"Jobs ({len(jobs)})", table(heading, jobs)
    )
