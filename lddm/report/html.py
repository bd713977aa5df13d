"""Pieces of HTML: style, tables that sort, images inside the page, numbers."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
th { cursor: pointer; }
pre { font-size: 0.8rem; overflow-x: auto; }
@media print { body { max-width: none; font-size: 11px; } details > * { display: block; } img, tr { break-inside: avoid; } }
table { border-collapse: collapse; font-size: 0.86rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #8884; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
td small { display: block; opacity: 0.65; } .wide { overflow-x: auto; }
img { max-width: 100%; height: auto; background: #fff; }
.note { border-left: 4px solid #d55e00; padding: 0.3rem 0.9rem; } footer { margin-top: 3rem; opacity: 0.75; font-size: 0.85rem; }
"""
SCRIPT = """
for (const head of document.querySelectorAll("th")) head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], place = head.cellIndex, up = head.dataset.up !== "1";
  const value = row => { const text = row.cells[place].firstChild?.textContent ?? "", n = parseFloat(text);
    return Number.isNaN(n) ? text : n; };
  [...body.rows].sort((a, b) => { const x = value(a), y = value(b);
    return (typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1) * (up ? 1 : -1); })
    .forEach(row => body.append(row));
  head.dataset.up = up ? "1" : "0";
});
"""


def image(path: Path, text: str) -> str:
    """An image inside the page."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    kind = {".png": "image/png", ".webp": "image/webp"}[path.suffix]
    return f'<p><img alt="{html.escape(text)}" src="data:{kind};base64,{data}"></p>'


def bullets(sentences: list[str]) -> str:
    """A list of plain sentences."""
    return "<ul>" + "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table that sorts by a click on a heading; cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def number(value: float | None) -> str:
    """Three significant digits; a dash for what is absent."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
