"""Display names of the metrics of the ablation, and the primary metric, which is the one tested."""

from __future__ import annotations

import pandas as pd

from lddm.statistics.primary import PRIMARY, VERSUS_REST

NAMES = {
    "auc": "AUC",
    "auc_macro": "macro AUC",
    "quadratic_kappa": "quadratic kappa",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "log_loss": "log loss",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "correlation": "correlation",
    "bland_altman_bias": "Bland-Altman bias",
    "bland_altman_low": "Bland-Altman, lower limit",
    "bland_altman_high": "Bland-Altman, upper limit",
}
# Primary metric -> columns of the LaTeX table with their headings.
LATEX = {
    "auc": {"auc": "AUC", "accuracy": "Accuracy", "sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1"},
    "auc_macro": {"auc_macro": "AUC (macro)", "accuracy": "Accuracy", "balanced_accuracy": "Bal. accuracy", "brier": "Brier"},
    "quadratic_kappa": {
        "quadratic_kappa": r"$\kappa_w$", "auc_macro": "AUC (macro)", "accuracy": "Accuracy",
        "balanced_accuracy": "Bal. accuracy",
    },
    "r2": {"r2": "$R^2$", "mae": "MAE", "rmse": "RMSE", "bland_altman_bias": "Bias"},
}  # fmt: skip
LATEX_DELTA = {"auc": "AUC", "auc_macro": "AUC", "quadratic_kappa": r"$\kappa_w$", "r2": "$R^2$"}
CHANCE = {"auc": 0.5, "auc_macro": 0.5, "quadratic_kappa": 0.0, "r2": 0.0}  # value at chance level


def primary(ablation: pd.DataFrame) -> str:
    """The primary metric of classification.csv (or sweep.csv); higher is better."""
    metrics = set(ablation["metric"])
    return next((metric for metric in reversed(PRIMARY.values()) if metric in metrics), "auc")


def delta_column(compared: pd.DataFrame) -> str:
    """The column of comparisons.csv with the difference of the primary metric."""
    return next(column for column in compared.columns if str(column).startswith("delta_"))


def shown(metric: str) -> str:
    """Display name of a metric; one-vs-rest AUCs include the class."""
    if metric.startswith(VERSUS_REST):
        return f"AUC, {metric.removeprefix(VERSUS_REST)} vs rest"
    return NAMES.get(metric, metric)
