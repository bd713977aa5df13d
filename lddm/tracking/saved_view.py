"""Saved view of MLflow's chart page: one row per pipeline, one bar chart per headline metric.

MLflow 3 stores saved views as tags of the experiment and lists them under "Views". The format is internal to its page; an
MLflow without views shows only the tag.
"""

from __future__ import annotations

import json
import re

KEY = "pipelines"  # id of the view, as in ...&viewStateShareKey=pipelines
TAG = f"mlflow.sharedViewState.{KEY}"
NAME = "Pipelines"
LONGEST = 5000  # characters of a tag's value
# Charted metrics, the most informative first; all others are in the table only.
CHARTED = (
    "classification/.*motion_delta_(auc|auc_macro|quadratic_kappa|r2)",
    "classification/.*/(auc|auc_macro|quadratic_kappa|r2)",
    "quality/.*/(fvd|frechet_video)",
    "quality/.*/flow.*",
)


def saved_view(metrics: list[str], made_ms: int) -> str:
    """Value of the tag.

    Args:
        metrics: metric names of summary runs in MLflow.
        made_ms: creation time in milliseconds since 1970.
    """
    chosen = [name for pattern in CHARTED for name in metrics if re.fullmatch(pattern, name)]
    while len(text := _view(chosen, made_ms)) > LONGEST:
        chosen = chosen[:-1]
    return text


def _view(metrics: list[str], made_ms: int) -> str:
    sections = list(dict.fromkeys(name.split("/")[0] for name in metrics))
    state = {
        "searchFilter": "tags.`lddm.kind` = 'summary'",
        "compareRunCharts": [
            {"type": "BAR", "uuid": name, "metricKey": name, "metricSectionId": name.split("/")[0], "runsCountToCompare": 20,
             "deleted": False, "isGenerated": False}
            for name in metrics
        ],
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": False} for name in sections
        ],
        "isAccordionReordered": True,
    }  # fmt: skip
    about = {
        "name": NAME,
        "createdAt": made_ms,
        "updatedAt": made_ms,
        "state": json.dumps(state, separators=(",", ":")),
    }
    return json.dumps(about)
