"""All figures of an experiment."""

from __future__ import annotations

from pathlib import Path

from lddm.report.charts import ablation_chart, quality_chart, sweep_chart
from lddm.report.curves import curves
from lddm.report.failures import failures
from lddm.report.prediction_charts import agreement_chart, confusion_chart
from lddm.report.results import Results
from lddm.report.strips import choose, loop, strips
from lddm.report.style import save
from lddm.settings import Settings

SOMETIMES = ("sweep.png", "confusion.png", "agreement.png")


def figures(settings: Settings, results: Path, out_dir: Path) -> list[Path]:
    """Draw strips, loops, curves and charts.

    Args:
        settings: the whole config; outputs of earlier settings are ignored.
        results: results/<experiment>.
        out_dir: the folder to write into.

    Returns:
        strips.png, failures.png, curves.png, quality.png, ablation.png and loops/loop-<i>.webp below `out_dir`; also sweep.png
        for a sweep, confusion.png for more than two classes, and agreement.png for a regression.
    """
    found = Results(results, settings)
    rows = choose(found, settings.report.strips)
    fps = found.meta()["fps"]
    for old in [
        *out_dir.glob("loops/loop-*.webp"),
        *(out_dir / name for name in SOMETIMES),
    ]:  # leftovers of an earlier run with more figures
        old.unlink(missing_ok=True)
    sweep, confusion, task = found.sweep(), found.confusion(), found.task()
    return [
        save(strips(rows, fps), out_dir / "strips.png"),
        save(strips(failures(found), fps), out_dir / "failures.png"),
        save(curves(found), out_dir / "curves.png"),
        save(quality_chart(found.quality()), out_dir / "quality.png"),
        save(ablation_chart(found.classification()), out_dir / "ablation.png"),
        *([save(sweep_chart(sweep), out_dir / "sweep.png")] if len(sweep) else []),
        *([save(confusion_chart(confusion, list(task.classes)), out_dir / "confusion.png")] if len(confusion) else []),
        *(
            [save(agreement_chart(found.classification_runs(), task), out_dir / "agreement.png")]
            if task.is_regression
            else []
        ),
        *(loop(title, versions, fps, out_dir / f"loops/loop-{i}.webp") for i, (title, versions) in enumerate(rows)),
    ]
