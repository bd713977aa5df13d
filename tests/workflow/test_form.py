"""The form of the workflow: formatter, linter, cluster profile."""

from __future__ import annotations

import subprocess
import sys

from sandbox import ROOT, Pipeline


def test_snakefmt_has_nothing_to_change():
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_is_clean(pipeline: Pipeline):
    done = pipeline.run("--lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_cluster_profile_plans_the_same_jobs(pipeline: Pipeline):
    plan = pipeline.planned()
    done = pipeline.run("--dry-run", "--quiet", "rules", "--profile", str(ROOT / "profiles/slurm"))
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert int(text.rsplit("total", 1)[1].split()[0]) == sum(plan.values())


def test_default_profile_caps_gpu_jobs_where_its_comment_is_taken(pipeline: Pipeline):
    text = (ROOT / "profiles/default/config.yaml").read_text()
    own = pipeline.folder / "own-profile/config.yaml"
    own.parent.mkdir()
    own.write_text(text.replace("# resources:\n#   gpu: 2", "resources:\n  gpu: 2"))
    done = pipeline.run("--profile", str(own.parent), "--until", "split")
    assert done.returncode == 0 and 'gpu=Resource("gpu", 2)' in done.stderr + done.stdout, done.stderr


def test_graph_can_be_drawn(pipeline: Pipeline):
    done = pipeline.run("--dag")
    assert done.returncode == 0 and "digraph" in done.stdout
