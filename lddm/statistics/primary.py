"""The one metric of each task that is tested; all are such that higher is better."""

from __future__ import annotations

PRIMARY = {"binary": "auc", "classes": "auc_macro", "ordinal": "quadratic_kappa", "regression": "r2"}
