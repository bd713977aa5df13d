"""Made-up results: what the other rules would have left."""

import pandas as pd

from lddm.classification.statistics import METRICS


def quality_rows(generator, l1, frechet):
    def row(metric, reference, value, source="heldout", **more):
        return {
            "fold": 0, "generator": generator, "source": source, "metric": metric, "features": "f", "reference": reference,
            "value": value, "ci_low": value and value * 0.9, "ci_high": value and value * 1.1, "n_real": 3,
            "n_synthetic": 3, "better": "lower", "floor": None, "sees_motion": metric != "l1", "protocol": "frames 1-8",
        } | more  # fmt: skip

    rows = [row("frechet_video", "heldout", frechet, source="heldout")]
    if generator != "real":
        rows += [row("l1", "same x0", l1), row("fvd", "", None, reason="i3d: no <weights>")]
    return rows


def memory_rows(generator):
    """Measures of memory of a generator, and controls in the files of `real` and `reconstruction`; one of them fails."""

    def row(metric, reference, value, low, high, **more):
        return {
            "fold": 0, "generator": generator, "source": "heldout", "metric": metric, "features": "f", "reference": reference,
            "value": value, "ci_low": low, "ci_high": high, "n_real": 12, "n_synthetic": 3, "better": "lower", "floor": None,
            "sees_motion": True, "protocol": "frames 1-8",
        } | more  # fmt: skip

    if generator == "real":
        return [
            row("copy_rate", "control: unseen", 0.0, 0.0, 0.0),
            row("nearer_to_train", "control: unseen, <blurred>", 0.5, 0.4, 0.6),
            row("data_copying", "control: unseen, <blurred>", -3.1, -4.0, -1.9, p_value=0.001),
        ]
    if generator == "reconstruction":
        return [
            row("copy_rate", "control: memorised, rebuilt", 1.0, 1.0, 1.0),
            row("data_copying", "control: memorised, rebuilt", -8.6, -8.8, -7.9, p_value=0.001),
        ]
    rows = [
        row("copy_rate", "train", 0.02, 0.0, 0.04),
        row("authenticity", "train", 0.71, 0.66, 0.76, floor=0.75),
        row("membership_auc", "", None, None, None, reason="no <loss>"),
    ]
    if generator == "lddm":
        rows[-1] = row("membership_auc", "train", 0.56, 0.49, 0.63)
        rows.append(row("membership_auc", "control: overfitted denoiser", 1.0, 1.0, 1.0))
    return rows


def ablation_table():
    rows = []
    for regime, auc, p in (("real", 0.7, None), ("real+static", 0.71, 0.8), ("real+lddm", 0.9, 0.01)):
        for metric in METRICS:
            delta = None if p is None else auc - 0.7
            rows.append(
                {
                    "classifier": "strain", "regime": regime, "metric": metric, "mean": auc, "ci_low": auc - 0.05,
                    "ci_high": auc + 0.05, "n_folds": 1, "n_seeds": 2, "n_test": 3, "delta_vs_real": delta,
                    "delta_ci_low": delta, "delta_ci_high": delta, "p_value": p if metric == "auc" else None,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def comparison_table():
    row = {
        "classifier": "strain", "regime": "real+lddm", "against": "real+static", "delta_auc": 0.19, "ci_low": 0.1,
        "ci_high": 0.3, "p_bootstrap": 0.01, "p_delong": 0.02, "p_holm": 0.04, "p_sign": "=",
        "runs_better": 2, "n_runs": 2, "n_test": 30, "n_patients": 20, "verdict": "better",
    }  # fmt: skip
    return pd.DataFrame([row])


def transfer_table():
    def row(scheme, trained_on, tested_on, auc):
        delta = None if scheme == "TRTR" else auc - 0.7
        return {
            "classifier": "strain", "scheme": scheme, "trained_on": trained_on, "tested_on": tested_on, "metric": "auc",
            "mean": auc, "ci_low": auc - 0.05, "ci_high": auc + 0.05, "delta_vs_real": delta, "delta_ci_low": delta,
            "delta_ci_high": delta, "n_folds": 1, "n_seeds": 2, "n_test": 3,
        }  # fmt: skip

    return pd.DataFrame(
        [row("TRTR", "real", "real", 0.7), row("TRTS", "real", "lddm", 0.65), row("TSTR", "lddm", "real", 0.6)]
    )


def sweep_table():
    amounts = [(videos, share) for videos in (16, 32) for share in (0.5,)]
    tables = [ablation_table().assign(real_videos=videos, synthetic_share=share) for videos, share in amounts]
    return pd.concat(tables, ignore_index=True)
