"""The benchmark scripts run at tiny sizes and count operations correctly."""

import json
import logging
import sys
import time

import psutil
import pytest
import torch
from torch import nn

from benchmarks import end_to_end, gpu, processes, scaling
from benchmarks.gpu_bars import judged
from benchmarks.gpu_rows import Bench
from benchmarks.gpu_tables import fill
from benchmarks.peers import stage2_peers
from benchmarks.roofline import Counted, Peak, count, data_sheet
from benchmarks.timing import TooLong, row, run_group, time_limit
from lddm.errors import LddmError
from lddm.files import write_json

WHOLE = {"whole_s": 12.5, "finished": False, "rules": {"encode": 3.0}}


@pytest.fixture(autouse=True)
def quiet():
    yield
    logging.disable(logging.NOTSET)


def test_operations_and_traffic_are_counted_with_the_backward_pass():
    layer, x = nn.Linear(64, 32, bias=False), torch.rand(8, 64)
    found = count(lambda: layer(x).sum().backward())
    assert found.flop == 2 * 2 * 8 * 64 * 32  # forward, and the gradient of the weights
    assert found.bytes > 2 * 4 * (8 * 64 + 64 * 32 + 8 * 32)
    view = count(lambda: x.view(-1)[:5])
    assert view.bytes == 0 and view.flop == 0


def test_the_slower_of_arithmetic_and_memory_is_the_bound():
    assert Counted(1e9, 1e9).bound(Peak(1e12, 1e10)) == pytest.approx(0.1)
    assert Counted(1e12, 1e9).bound(Peak(1e12, 1e10)) == pytest.approx(1)
    assert Counted(None, 1e9).bound(Peak(1e12, None)) is None


def test_rows_say_where_they_are_from():
    made = row("a", 2.0, 4.0, "s", "small", batch=3)
    assert made["ratio"] == 0.5 and made["batch"] == 3 and made["device"] and made["commit"]


def test_stage_2_is_compared_with_its_peers():
    rows = {made["name"]: made for made in stage2_peers(32, 2, repeats=1)}
    assert set(rows) == {
        f"stage2_step_vs_{p}" for p in ("forward_pass", "diffusers_loop", "diffusers_unet", "roofline")
    }
    assert all(made["ratio"] > 0 and made["batch"] == 2 for made in rows.values())
    assert rows["stage2_step_vs_forward_pass"]["ratio"] < 1


def test_the_script_for_a_gpu_runs_to_its_end_and_fills_its_table(tmp_path, monkeypatch):
    ran = {"averaging_s": 0.5, "ddp_s": 0.25, "difference": 0.0, "processes": 2}
    monkeypatch.setattr(processes, "run", lambda *arguments: ran)  # has a test of its own
    monkeypatch.setattr(end_to_end, "run", lambda *arguments: WHOLE)
    out, page = tmp_path / "gpu.json", tmp_path / "page.md"
    page.write_text("before\n<!-- gpu -->\nold\n<!-- /gpu -->\nafter\n")
    gpu.main(device="cpu", quick=True, whole=True, budget=600, out=out, docs=page)
    made = json.loads(out.read_text())
    assert made["end_to_end"] == WHOLE and made["quick"]
    names = {row["name"] for row in made["rows"]}
    assert {"stage 2, denoiser: read each step", "stage 2, student: read at the log", "stage 1, warp"} < names
    assert {"stage 1, spade, checkpointing", "stage 1, spade, channels last"} < names
    places = (
        "on the device",
        "further samples of stills to arrays of the host",
        "first samples of stills to arrays of the host",
    )
    assert {f"synthesis, one step, {place}" for place in places} < names
    assert not any("left_out" in row for row in made["rows"]), [row.get("left_out") for row in made["rows"]]
    assert all(row["device"] and row["commit"] and row["batch"] for row in made["rows"])
    assert all(row["rate"] > 0 and row["tflop"] > 0 for row in made["rows"] if row["name"] != "several processes")
    text = page.read_text()
    assert text.startswith("before\n<!-- gpu -->\n") and text.endswith("<!-- /gpu -->\nafter\n") and "old" not in text
    assert "| stage 1, warp | 4 |" in text and "12.5 s (the time was up before the end)" in text
    assert "averaging 2, DDP 4" in text
    bars = {bar["name"]: bar for bar in made["bars"]}
    assert bars["stage 1, warp decoder, best batch"]["held"] is False  # a CPU
    assert bars["config/lung.yaml at 128 px, whole"]["held"] is None  # it did not end
    assert "| stage 1, warp decoder, best batch | 4000 clips/s |" in text and "| not measured |" in text


def test_a_failed_row_is_reported_and_stops_no_other(tmp_path, monkeypatch):
    out, seen = tmp_path / "gpu.json", []

    def breaks():
        raise ZeroDivisionError("an error of any kind")

    def parts(bench):
        yield "rows", lambda: bench.measure("cannot be built", breaks, Peak(None, None), 1, batch=1)
        yield "a part", breaks
        yield "look", lambda: seen.extend(json.loads(out.read_text())["rows"])
        yield "rows", lambda: bench.measure("works", lambda: lambda: None, Peak(None, None), 1, batch=3)

    monkeypatch.setattr(gpu, "asked", parts)
    monkeypatch.setattr(gpu, "explaining", lambda bench: iter([("several", lambda: gpu.several(bench, 32, 4, 2))]))
    for module, name in ((processes, "run"), (end_to_end, "run")):
        monkeypatch.setattr(module, name, lambda *arguments: breaks())
    gpu.main(device="cpu", quick=True, whole=True, budget=600, out=out, docs=None)
    made = json.loads(out.read_text())
    assert [row["name"] for row in seen] == ["cannot be built", "a part"], "each row is written when it is there"
    assert [row["name"] for row in made["rows"]] == ["cannot be built", "a part", "works", "several processes"]
    assert [row.get("left_out") for row in made["rows"]] == ["an error of any kind"] * 2 + [
        None,
        "an error of any kind",
    ]
    assert made["end_to_end"]["left_out"] == "an error of any kind" and not made["end_to_end"]["finished"]


def test_a_row_is_stopped_at_its_limit_and_the_last_at_the_end_of_all(tmp_path):
    bench = Bench(torch.device("cpu"), True, time.monotonic() + 0.6, row_s=0.2)

    def sleeps():
        while True:
            time.sleep(0.01)

    for _ in range(6):
        bench.measure("endless", lambda: sleeps, Peak(None, None), 1)
    reasons = [row["left_out"] for row in bench.rows]
    assert reasons[0].startswith("took longer than") and reasons[-1] == "no time was left"


def test_targets_are_judged_by_the_best_row():
    rows = [{"name": "stage 1, warp", "rate": 3000.0}, {"name": "stage 1, warp, compiled", "rate": 4100.0}]
    rows += [{"name": "stage 1, spade", "rate": 1.0, "share_of_peak": 0.2}, {"name": "stage 1, spade", "left_out": "x"}]
    bars = {bar["name"]: bar for bar in judged({"rows": rows, "end_to_end": {"whole_s": 200.0, "finished": True}})}
    assert bars["stage 1, warp decoder, best batch"]["held"] is True
    assert bars["stage 1, spade decoder, best batch"]["held"] is False
    assert bars["stage 2, denoiser, batch 32"]["held"] is None
    assert bars["config/lung.yaml at 128 px, whole"]["held"] is True


def test_a_stopped_command_leaves_no_process_behind(tmp_path):
    """As torchrun does, each worker is started in a session of its own."""
    start = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True).wait()"
    )
    worker = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with pytest.raises(TooLong):
        run_group([sys.executable, "-c", start, worker], 3)
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    with pytest.raises(TooLong), time_limit(0.05):
        time.sleep(5)
    assert run_group([sys.executable, "-c", "print(7)"], 60).stdout == "7\n"


def test_a_device_has_the_data_sheet_of_its_own_variant():
    for name, flops, bandwidth in (
        ("NVIDIA L40S", 362e12, 0.864e12), ("NVIDIA L40", 181e12, 0.864e12), ("NVIDIA H100 PCIe", 756e12, 2e12),
        ("NVIDIA H100 80GB HBM3", 989e12, 3.35e12), ("NVIDIA H100 NVL", 835e12, 3.9e12), ("NVIDIA H200", 989e12, 4.8e12),
        ("NVIDIA A100-SXM4-40GB", 312e12, 1.555e12), ("NVIDIA A100 80GB PCIe", 312e12, 1.935e12),
    ):  # fmt: skip
        found = data_sheet(name)
        assert (found[0], found[2]) == (flops, bandwidth), name
    assert data_sheet("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None and data_sheet("NVIDIA T4") is None


def test_rows_without_time_left_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "run", lambda *arguments: {"averaging_s": 1.0, "ddp_s": 1.0, "difference": 0.0})
    monkeypatch.setattr(gpu, "asked", lambda bench: iter([("warp", lambda: gpu.stage1(bench, "warp", 32, 8, (2,)))]))
    monkeypatch.setattr(gpu, "explaining", lambda bench: iter([]))
    gpu.main(device="cpu", quick=True, whole=False, budget=0, out=tmp_path / "gpu.json", docs=None)
    (left,) = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert left["left_out"] == "no time was left" and "seconds" not in left


def test_a_page_without_markers_is_an_error(tmp_path):
    (tmp_path / "page.md").write_text("nothing\n")
    with pytest.raises(LddmError, match="lacks the markers"):
        fill(tmp_path / "page.md", {})


def test_averaging_gives_the_gradients_of_ddp():
    made = processes.run("cpu", 2, 16, 1, 4, 1, timeout=300)
    assert made["processes"] == 2 and made["difference"] < 1e-5 and made["ddp_s"] > 0


def test_seconds_of_a_run_come_from_its_records(tmp_path):
    for name, start, end in (("a", "10:00:00", "10:00:30"), ("b", "10:00:20", "10:01:05")):
        about = {"rule": "encode", "started": f"2026-01-31T{start}+00:00", "ended": f"2026-01-31T{end}+00:00"}
        write_json(tmp_path / f"records/encode/{name}/20260131T2300-aa/record.json", about)
    write_json(
        tmp_path / "records/score/a/20260131T2300-bb/record.json", {"rule": "score", "started": "2026-01-31T10:00:00"}
    )
    assert end_to_end.summary(tmp_path) == {"whole_s": 65.0, "rules": {"encode": 75.0}}
    assert end_to_end.summary(tmp_path / "nothing") == {"whole_s": None, "rules": {}}


def test_scaling_measures_each_stage_once_and_resumes(tmp_path, monkeypatch):
    folder = tmp_path / "32"
    rows = scaling.run_stage("index", 32, folder, 1) if not folder.mkdir() else []
    for stage in ("preprocess", "split", "duplicates", "motion", "encode", "synthesis"):
        rows += scaling.run_stage(stage, 32, folder, 1)
    stages = [row["stage"] for row in rows]
    assert stages == ["index", "preprocess", "split", "duplicates", "motion", "encode", "synthesis"]
    assert all(row["seconds"] > 0 and row["peak_mib"] >= 0 for row in rows)
    assert (folder / "made.parquet").is_file()
    commands = []

    class Done:
        returncode = 0
        stdout = json.dumps([{"stage": "scores", "seconds": 2.0, "cpu_s": 1.0, "peak_mib": 4.0}])

    monkeypatch.setattr(scaling.subprocess, "run", lambda command, **_: (commands.append(command), Done())[1])
    monkeypatch.setattr(scaling, "commit", lambda: "abc")
    write_json(folder / "rows.json", [made | {"videos": 32} for made in rows])
    all_rows = scaling.measured(32, folder, 1)
    assert len(commands) == 1 and commands[0][commands[0].index("--stage") + 1] == "scores"
    twice = all_rows + [made | {"videos": 64, "cpu_s": 2 * made["cpu_s"]} for made in all_rows]
    assert "| scores | 2 s (1), 4 MiB | 2 s (2), 4 MiB | 2, 1 for 2 times the videos |" in scaling.table(twice)
