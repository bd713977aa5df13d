"""All figures of an experiment."""

from __future__ import annotations

from pathlib import Path

from lddm.report.charts import ablation_chart, quality_chart, sweep_chart
from lddm.report.curves import curves
from lddm.report.failures import failures
from lddm.report.results import Results
from lddm.report.strips import choose, loop, strips
from lddm.report.style import save
from lddm.settings import Settings


def figures(settings: Settings, results: Path, out_dir: Path) -> list[Path]:
    """Draw strips, loops, curves and charts.

    Args:
        settings: the whole config; outputs of earlier settings are not drawn.
        results: results/<experiment>.
        out_dir: the folder to write into.

    Returns:
        strips.png, failures.png, curves.png, quality.png, ablation.png and loops/loop-<i>.webp below `out_dir`; sweep.png if
        there is a sweep.
    """
    found = Results(results, settings)
    rows = choose(found, settings.report.strips)
    fps = found.meta()["fps"]
    for old in [*out_dir.glob("loops/loop-*.webp"), *out_dir.glob("sweep.png")]:  # of an earlier run with more of them
        old.unlink()
    sweep = found.sweep()
    return [
        save(strips(rows, fps), out_dir / "strips.png"),
        save(strips(failures(found), fps), out_dir / "failures.png"),
        save(curves(found), out_dir / "curves.png"),
        save(quality_chart(found.quality()), out_dir / "quality.png"),
        save(ablation_chart(found.classification()), out_dir / "ablation.png"),
        *([save(sweep_chart(sweep), out_dir / "sweep.png")] if len(sweep) else []),
        *(loop(title, versions, fps, out_dir / f"loops/loop-{i}.webp") for i, (title, versions) in enumerate(rows)),
    ]
