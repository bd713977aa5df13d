"""MLflow's own pages in a real browser: the runs of an experiment, and two pipelines side by side."""

from __future__ import annotations

import json
import re
import urllib.parse
from pathlib import Path

import pytest

from lddm.tracking import mlflow_store, mlflow_view, saved_view
from tests.browser import needs_browser, shown
from tests.mlflow_server import free_port, mlflow_server

BUILD = Path(__file__).resolve().parents[3] / "build"
pytestmark = needs_browser


def summary(folder: Path, pipeline: str, auc: float, uri: str) -> None:
    path = folder / pipeline / "summary.json"
    path.parent.mkdir()
    headline = {"classification/strain/real+lddm/auc": auc, "quality/lddm/l1": 0.1}
    settings = {f"stage.setting_{number:03d}": number for number in range(150)} | {"diffusion.width": round(auc * 64)}
    content = {"headline": headline, "settings": settings}
    path.write_text(json.dumps(content))
    mlflow_view.push_summary(path, uri, "phantom", pipeline)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Address of `mlflow ui` on a store with the summaries of two pipelines, the experiment and the two runs."""
    folder = tmp_path_factory.mktemp("ui")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    summary(folder, "pipeline-one", 0.8125, uri)
    summary(folder, "pipeline-two", 0.9375, uri)
    client = mlflow_store.open_store(uri)
    experiment = client.get_experiment_by_name("phantom").experiment_id
    runs = [run.info.run_id for run in client.search_runs([experiment])]
    port = free_port()
    # By another name than localhost, where MLflow 3 covers a third of the page with its assistant.
    host = f"mlflow.test:{port}"
    options = ("--allowed-hosts", f"127.0.0.1:{port},{host}", "--cors-allowed-origins", f"http://{host}")
    with mlflow_server(folder, uri, port, *options, verb="ui"):
        yield f"http://{host}", experiment, runs


def look(address: str, name: str, width: int, tmp_path: Path, awaited: str = "summary pipeline-one") -> str:
    """The page as the browser shows it, and a picture of it in build/."""
    BUILD.mkdir(exist_ok=True)
    window = [f"--window-size={width},1200", "--host-resolver-rules=MAP mlflow.test 127.0.0.1"]
    picture = f"--screenshot={BUILD / f'mlflow-{name}-{width}.png'}"
    shown(address, tmp_path, *window, picture, patience_ms=60000)
    for _ in range(3):  # a busy machine may not have drawn the page in time
        text = shown(address, tmp_path, *window, patience_ms=30000)
        if awaited in text:
            break
    return text


VIEW = "workflowType=machine_learning"  # else MLflow 3 shows its view of chat bots
METRIC = "classification/strain/real-lddm/auc"


def test_the_table_of_runs_has_a_row_a_pipeline_and_sorts_by_a_metric(page, tmp_path):
    """MLflow shows metrics as columns after a click only; sorted by one, the rows turn round if it has their values."""
    address, experiment, _ = page
    order = urllib.parse.urlencode({"orderByKey": f"metrics.`{METRIC}`", "orderByAsc": "true"})
    text = look(f"{address}/#/experiments/{experiment}/runs?{VIEW}&{order}", "runs", 1900, tmp_path)
    rows = dict(re.findall(r'<div[^>]*row-index="(\d)"(?:(?!row-index).)*?>(summary pipeline-\w+)<', text, re.DOTALL))
    assert rows == {"0": "summary pipeline-one", "1": "summary pipeline-two"}, "newest first would be two, one"
    assert f"Sort: {METRIC}" in text


def test_a_phone_shows_the_rows_too(page, tmp_path):
    address, experiment, _ = page
    text = look(f"{address}/#/experiments/{experiment}/runs?{VIEW}", "runs", 420, tmp_path)
    assert "summary pipeline-one" in text and "summary pipeline-two" in text


def test_the_chart_page_draws_the_metric(page, tmp_path):
    address, experiment, _ = page
    text = look(f"{address}/#/experiments/{experiment}/runs?{VIEW}&compareRunsMode=CHART", "charts", 1900, tmp_path)
    assert "summary pipeline-one" in text and "summary pipeline-two" in text and METRIC in text


def test_the_saved_view_charts_the_headline_first_with_a_bar_a_pipeline(page, tmp_path):
    address, experiment, _ = page
    link = f"{address}/#/experiments/{experiment}/runs?{VIEW}&compareRunsMode=CHART&viewStateShareKey={saved_view.KEY}"
    text = look(link, "saved", 1900, tmp_path, awaited=">0.94<")
    assert "a shared view" in text and "Error loading shared view" not in text
    assert ">0.94<" in text and ">0.81<" in text
    assert text.index(METRIC) < text.index("quality/lddm/l1")  # MLflow adds the other metrics below
    assert ">Pipelines<" in text  # its name in the menu of views


def test_a_saved_view_fits_into_a_tag_whatever_the_number_of_metrics():
    metrics = [f"classification/network_{number}/real-lddm/auc" for number in range(100)] + [
        "classification/a/motion_delta_auc"
    ]
    text = saved_view.saved_view(metrics, 1)
    state = json.loads(json.loads(text)["state"])
    assert len(text) <= saved_view.LONGEST and len(state["compareRunCharts"]) > 10
    assert state["compareRunCharts"][0]["metricKey"] == "classification/a/motion_delta_auc"
    assert json.loads(json.loads(saved_view.saved_view([], 1))["state"])["compareRunCharts"] == []


def test_the_comparison_lines_up_the_metrics_of_two_pipelines(page, tmp_path):
    address, experiment, runs = page
    query = urllib.parse.urlencode({"runs": json.dumps(runs), "experiments": json.dumps([experiment])})
    text = look(f"{address}/#/compare-runs?{query}&{VIEW}", "compare", 1400, tmp_path)
    assert "summary pipeline-one" in text and "summary pipeline-two" in text
    assert METRIC in text and re.search(r"0\.81[23]", text)
    assert "diffusion.width" in text and "stage.setting_149" in text  # settings line up too, however many there are
