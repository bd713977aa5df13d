"""Duration of a run from its records, and rejection of interrupted runs."""

import pytest

from benchmarks.measured_run import measured, seconds_of_tests
from lddm.errors import LddmError
from lddm.files import write_json


def record(root, rule, minutes, **more):
    began, ended = minutes
    (root / "settings").mkdir(exist_ok=True)
    (root / "settings/whole.yaml").write_text("experiment: phantom\n")
    about = {
        "status": "FINISHED", "pipeline": "a", "rule": rule, "attempt": 1, "host": {"cpus": 2}, "outputs": [],
        "started": f"2026-01-31T23:{began:02d}:00+00:00", "ended": f"2026-01-31T23:{ended:02d}:00+00:00",
    }  # fmt: skip
    write_json(root / f"records/{rule}/all/20260131T23{began:02d}00-aa/record.json", about | more)


def test_from_the_first_start_to_the_last_end(tmp_path):
    for rule, minutes in (("index", (2, 3)), ("classify", (4, 30)), ("score", (5, 20))):
        record(tmp_path, rule, minutes)
    assert measured(tmp_path) == {"date": "2026-01-31", "cores": 2, "run_s": 28 * 60, "jobs": 3}


@pytest.mark.parametrize("more", [{"pipeline": "b"}, {"attempt": 2}])
def test_an_interrupted_run_is_rejected(tmp_path, more):
    record(tmp_path, "index", (2, 3))
    record(tmp_path, "score", (5, 20), **more)
    with pytest.raises(LddmError, match="one uninterrupted run"):
        measured(tmp_path)
    with pytest.raises(LddmError, match="settings of its run"):
        measured(tmp_path / "nothing")


def test_seconds_of_the_tests_come_from_their_report(tmp_path):
    (tmp_path / "tests.xml").write_text('<testsuites><testsuite time="1.4"/><testsuite time="2.2"/></testsuites>')
    assert seconds_of_tests(tmp_path / "tests.xml") == {"test_s": 4} and seconds_of_tests(tmp_path / "no.xml") == {}
