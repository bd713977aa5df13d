"""HTML components: style, sortable tables, embedded images, numbers."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

from PIL import Image

from lddm.report.style import DPI

CSS_DPI = 96  # CSS pixels per inch
MEDIA = {".png": "image/png", ".webp": "image/webp"}

# Wide tables and images scroll within their own box, so that they are legible on a phone. Print expands collapsed content and
# omits the loops, whose first frames are identical.
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.6rem; } h2, h3, h4 { break-after: avoid; }
nav { display: flex; flex-wrap: wrap; gap: 0 1.2rem; font-size: 0.9rem; }
li { margin: 0.35rem 0; } #results li::first-line { font-weight: 600; }
p, li, figcaption, summary { overflow-wrap: anywhere; }
pre { font-size: 0.8rem; overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.86rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #8884; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; cursor: pointer; }
th::after { content: " \\2195"; opacity: 0.35; } th[aria-sort=ascending]::after { content: " \\2191"; opacity: 1; }
th[aria-sort=descending]::after { content: " \\2193"; opacity: 1; }
td { overflow-wrap: break-word; max-width: 40rem; } td:first-child { min-width: 11rem; }
td small { display: block; opacity: 0.7; } td:not(:first-child) small { white-space: nowrap; } .wide { overflow-x: auto; }
figure { margin: 1rem 0; } img { width: min(var(--natural), 100%); height: auto; background: #fff; vertical-align: top; }
.note { border-left: 4px solid #d55e00; padding: 0.3rem 0.9rem; } footer { margin-top: 3rem; opacity: 0.75; font-size: 0.85rem; }
@media (max-width: 46rem) { img { width: min(var(--natural), 44rem); max-width: none; } th, td { padding: 0.25rem 0.4rem; }
  th:first-child, td:first-child { position: sticky; left: 0; background: Canvas; min-width: 9rem; } }
@media print { body { max-width: none; margin: 0; font-size: 11px; } nav, .loop, th::after { display: none; content: none; }
  .wide { overflow: visible; } table { font-size: 8px; } th, td { padding: 0.15rem 0.3rem; } td:first-child { min-width: 0; }
  td { overflow-wrap: anywhere; }
  details::details-content { content-visibility: visible; block-size: auto; } figure, tr { break-inside: avoid; } }
"""
SCRIPT = """
const number = /^[+-]?(\\d+\\.?\\d*|\\.\\d+)(e[+-]?\\d+)?(?=$|[\\s%])/i;
const value = cell => { const text = (cell.firstChild?.textContent ?? "").trim(), found = text.match(number);
  return found ? Number(found[0]) : text; };
function order(x, y) { return x < y ? -1 : x > y ? 1 : 0; }
function sort(head) {
  const table = head.closest("table"), body = table.tBodies[0], up = head.getAttribute("aria-sort") !== "ascending";
  const rows = [...body.rows].map(row => [value(row.cells[head.cellIndex]), row]);
  const empty = x => x === "" || x === "\\u2013";
  rows.sort(([x], [y]) => empty(x) || empty(y) ? empty(x) - empty(y) : typeof x !== typeof y ? (typeof x === "number" ? -1 : 1)
    : order(x, y) * (up ? 1 : -1));
  body.append(...rows.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
}
for (const head of document.querySelectorAll("th")) {
  head.tabIndex = 0;
  head.addEventListener("click", () => sort(head));
  head.addEventListener("keydown", event => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(head); }
  });
}
const folded = [...document.querySelectorAll("details:not([open])")];
addEventListener("beforeprint", () => folded.forEach(part => part.open = true));
addEventListener("afterprint", () => folded.forEach(part => part.open = false));
"""


def image(path: Path, text: str, kind: str = "chart") -> str:
    """An embedded image at its natural size, or smaller if space is limited; "" if the file does not exist.

    Args:
        kind: class of the figure: "chart", "strips" or "loop".
    """
    if not path.is_file():
        return ""
    with Image.open(path) as opened:
        scale = CSS_DPI / DPI if path.suffix == ".png" else 1  # charts have DPI dots per inch, loops one dot per pixel
        width = round(opened.width * scale)
    data = base64.b64encode(path.read_bytes()).decode()
    about = f'alt="{html.escape(text)}" style="--natural: {width}px"'
    source = f"data:{MEDIA[path.suffix]};base64,{data}"
    return f'<figure class="{kind}"><div class="wide"><img {about} src="{source}"></div></figure>'


def bullets(sentences: list[str]) -> str:
    """A bulleted list of plain-text sentences."""
    return "<ul>" + "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table sortable by its headings; cells are HTML."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(title: str, content: str) -> str:
    """Collapsed content, expanded by a click and in print."""
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def number(value: float | None) -> str:
    """Format with three significant digits; a dash if absent."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
