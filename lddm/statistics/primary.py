"""Names of metrics that tables and pages share; the one of each task that is tested, where higher is better."""

from __future__ import annotations

VERSUS_REST = "auc: "  # and the name of a class: its AUC against the rest
PRIMARY = {"binary": "auc", "classes": "auc_macro", "ordinal": "quadratic_kappa", "regression": "r2"}
