"""Tables of the performance page from benchmarks/gpu.json: `python -m benchmarks.gpu_tables docs/results/performance.md`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu_bars import judged
from benchmarks.gpu_bars import lines as bar_lines
from lddm.errors import LddmError
from lddm.files import atomic_path, read_json

COLUMNS = "| | batch | a second | share of peak | share of roofline | memory (GiB) |\n|---|---|---|---|---|---|"


def table(made: dict[str, Any]) -> str:
    """Markdown table of all rows, with device and commit."""
    lines = [f"{made['device']}, commit {made['commit']}{', tiny sizes' if made['quick'] else ''}.", ""]
    lines += [*bar_lines(made.get("bars") or judged(made)), "", COLUMNS]
    for row in made["rows"]:
        if "left_out" in row:
            cells = [f"left out: {row['left_out']}", "", "", ""]
        elif "ddp_s" in row:
            cells = [f"averaging {1 / row['averaging_s']:.3g}, DDP {1 / row['ddp_s']:.3g}", "", "", ""]
        else:
            shares = (row["share_of_peak"], row["share_of_roofline"])
            cells = [f"{row['rate']:.4g}", *("–" if s is None else f"{100 * s:.2g} %" for s in shares)]
            cells.append("–" if row["peak_memory_gib"] is None else f"{row['peak_memory_gib']:.2g}")
        lines.append(f"| {row['name']} | {'' if row['batch'] is None else row['batch']} | {' | '.join(cells)} |")
    if "end_to_end" in made:
        whole = made["end_to_end"]
        until = "" if whole["finished"] else f" ({whole.get('left_out', 'the time was up before the end')})"
        lines += ["", f"`config/lung.yaml` at 128 px on simulated videos: {whole['whole_s']} s{until}."]
        lines.append("Seconds by rule: " + ", ".join(f"{rule} {s:g}" for rule, s in whole["rules"].items()) + ".")
    return "\n".join(lines)


def fill(page: Path, made: dict[str, Any], name: str = "gpu") -> None:
    """Write the tables between the markers `<!-- gpu -->` and `<!-- /gpu -->`.

    Raises:
        LddmError: the page lacks the markers.
    """
    text = page.read_text(encoding="utf-8")
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if len(marks.findall(text)) != 1:
        raise LddmError(
            f"{page} lacks the markers of the table '{name}'", f"add <!-- {name} --> and <!-- /{name} --> to it"
        )
    with atomic_path(page) as temporary:
        temporary.write_text(marks.sub(lambda found: f"{found[1]}{table(made)}\n{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    fill(Path(sys.argv[1]), read_json(Path(__file__).with_name("gpu.json")))
