"""Names of metrics shared by tables and pages, including the primary metric of each task (higher is better)."""

from __future__ import annotations

VERSUS_REST = "auc: "  # followed by the name of a class: its one-vs-rest AUC
PRIMARY = {"binary": "auc", "classes": "auc_macro", "ordinal": "quadratic_kappa", "regression": "r2"}
