"""Tables of `benchmarks.generators`, from the rows of its units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown table with mean (minimum, maximum) over seeds."""
    frame = pd.DataFrame(rows)
    columns = {
        "frechet_video": "Fréchet video",
        "strain_error": "strain error",
        "strain_correlation": "strain correlation",
        "flow_magnitude": "flow, W1",
        "flow_magnitude of real": "flow / real",
        "temporal_difference": "temporal difference, W1",
        "temporal_difference of real": "temporal difference / real",
        "diversity": "diversity",
        "teaches": "AUC taught",
        "parameters": "parameters",
        "train_s": "training (s)",
        "seconds_a_video": "s a video",
        "memory_gb": "peak memory (GB)",
    }
    lines = ["| generator | runs | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 2) + "|"]
    for name, part in frame.groupby("generator", sort=False):
        cells = []
        for column in columns:
            values = part[column].dropna() if column in part else pd.Series(dtype=float)
            text = "–" if values.empty else f"{values.mean():.3g}"
            if len(values) > 1 and values.max() > values.min():
                text += f" ({values.min():.3g}, {values.max():.3g})"
            cells.append(text)
        lines.append(f"| {name} | {len(part)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def reconstruction_table(rows: list[dict[str, Any]]) -> str:
    """Markdown table of stage 1 with its reference values."""
    frame = pd.DataFrame(rows)
    columns = [
        "l1",
        "ssim",
        "perceptual",
        "strain_error",
        "strain_correlation",
        "auc_real",
        "auc_reconstruction",
        "task_fidelity",
        "fidelity_low",
        "fidelity_high",
    ]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in ("reconstruction", "z of zero", "static"):
        part = frame[frame["generator"] == name]
        cells = ["–" if part[c].isna().all() else f"{part[c].mean():.4g}" for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def paired_tests(rows: list[dict[str, Any]]) -> str:
    """Effect of x0: paired tests of LDDM against LDDM conditioned on another x0, and against motion transfer."""
    frame = pd.DataFrame(rows)
    lddm, transfer = (frame[frame["generator"] == name] for name in ("lddm", "motion_transfer"))
    text = ""
    for measure, better in (("strain_errors", "less"), ("strain_correlations", "greater"), ("l1_errors", "less")):
        right = np.mean(lddm[measure].tolist(), axis=0)
        others = {
            "LDDM that sees the x0 of another patient of the class": lddm[f"{measure}_wrong_x0"],
            "motion transfer": transfer[measure],
        }
        for name, values in others.items():
            other = np.mean(values.tolist(), axis=0)
            p = wilcoxon(right, other, alternative=better).pvalue
            text += f"- {measure.removesuffix('s').replace('_', ' ')} {right.mean():.4g} against {other.mean():.4g} of {name}: "
            text += f"Wilcoxon p = {p:.2g}, n = {len(right)} clips\n"
    return text
