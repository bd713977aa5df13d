"""Duration of `make run`: `python -m benchmarks.measured_run results/phantom` afterwards, on an idle machine.

Writes benchmarks/measured_run.json; a test compares the times stated in README.md with it. Values that a run does not record
(time of the installation, memory of the largest process) were entered by hand and are kept.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lddm.errors import LddmError
from lddm.files import read_json, write_json
from lddm.report.results import Results

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks/measured_run.json"


def measured(results: Path) -> dict[str, Any]:
    """Date, cores, jobs, and seconds from the start of the first job to the end of the last.

    Raises:
        LddmError: the records are not from one uninterrupted run.
    """
    jobs = Results.saved(results).jobs()
    if not jobs or len({job["pipeline"] for job in jobs}) > 1 or any(job["attempt"] > 1 for job in jobs):
        raise LddmError(
            f"{results}/records are not from one uninterrupted run", "remove the folder and `make run` again"
        )
    began, ended = (
        order(datetime.fromisoformat(job[key]) for job in jobs) for order, key in ((min, "started"), (max, "ended"))
    )
    return {
        "date": began.date().isoformat(),
        "cores": jobs[0]["host"]["cpus"],
        "run_s": round((ended - began).total_seconds()),
        "jobs": len(jobs),
    }


def seconds_of_tests(report: Path) -> dict[str, int]:
    """Duration of `make test` in seconds, if its report exists."""
    if not report.is_file():
        return {}
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    return {"test_s": round(sum(float(suite.get("time", 0)) for suite in suites))}


if __name__ == "__main__":
    made = read_json(OUT) | measured(Path(sys.argv[1])) | seconds_of_tests(ROOT / "build/tests.xml")
    write_json(OUT, made)
    print(f"Made {OUT}: {made}")
