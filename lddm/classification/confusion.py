"""confusion.csv: confusion matrices of multi-class tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lddm.classification.measures import predicted_of
from lddm.classification.table import common_task, read_cells

COLUMNS = ["classifier", "regime", "class_name", "predicted", "videos", "share"]


def confusion_table(files: list[Path]) -> pd.DataFrame | None:
    """Confusion matrix of the test videos; None for regression and for two classes.

    Args:
        files: seed-<s>.json of all folds, classifiers and regimes.

    Returns:
        One row per classifier, regime, true class and predicted (most probable) class: `videos`, summed over folds and averaged
        over seeds, and `share` of the videos of the true class.
    """
    cells = read_cells(files)
    task = common_task(cells)
    if task.kind == "binary" or task.is_regression:
        return None
    numbers = list(range(len(task.classes)))
    rows = []
    for classifier, regimes in cells.items():
        for regime, runs in regimes.items():
            seeds = len({seed for _, seed in runs})
            total = np.zeros((len(numbers), len(numbers)))
            for result in runs.values():
                table = pd.DataFrame(result["predictions"])
                called = predicted_of(task, table).argmax(axis=1)
                np.add.at(total, (table["label"].to_numpy(), called), 1 / seeds)
            of_class = total.sum(axis=1)
            rows += [
                (classifier, regime, task.classes[i], task.classes[j], total[i, j], total[i, j] / of_class[i])
                if of_class[i]
                else (classifier, regime, task.classes[i], task.classes[j], 0.0, np.nan)
                for i in numbers
                for j in numbers
            ]
    return pd.DataFrame(rows, columns=COLUMNS)
