"""The report in a real browser: tables sort, a phone can read it, and print shows what is folded."""

import json
import re
import shutil

import pytest

from lddm.report.figures import figures
from lddm.report.page import page
from tests.browser import needs_browser, shown

pytestmark = needs_browser

TELL = """
<script>
const tell = value => { const pre = document.createElement("pre"); pre.id = "told";
  pre.textContent = JSON.stringify(value); document.body.append(pre); };
%s
</script>
"""


@pytest.fixture
def report(results, settings):
    figures(settings, results, results / "figures")
    page(settings, results, results / "report.html")
    return results / "report.html"


def told(report, script, tmp_path):
    """What a script in the page says."""
    driven = report.with_name("driven.html")
    driven.write_text(report.read_text().replace("</body>", TELL % script + "</body>"))
    text = shown(driven.as_uri(), tmp_path)
    found = re.search(r'<pre id="told">(.*?)</pre>', text)
    assert found, text[-2000:]
    return json.loads(found[1].replace("&lt;", "<").replace("&amp;", "&"))


SORTED = """
const table = document.createElement("table");
table.innerHTML = "<thead><tr><th>x</th></tr></thead><tbody>" + ["10", "\\u2013", "9<small>1 to 99</small>", "-0.5", "+2e1"]
  .map(cell => `<tr><td>${cell}</td></tr>`).join("") + "</tbody>";
document.body.append(table);
const head = table.tHead.rows[0].cells[0], said = [];
const look = () => said.push([head.getAttribute("aria-sort"), ...[...table.tBodies[0].rows].map(row =>
  row.cells[0].firstChild.textContent)]);
head.addEventListener("click", () => sort(head));
head.click(); look(); head.click(); look();
const own = [...document.querySelectorAll("#scores th")].find(cell => cell.textContent === "LDDM (ours)");
own.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
const column = [...own.closest("table").tBodies[0].rows].map(row => Number(row.cells[own.cellIndex].firstChild.textContent));
tell([...said, column, own.tabIndex]);
"""


def test_a_heading_sorts_by_number_up_and_down_with_dashes_last(report, tmp_path):
    up, down, column, reachable = told(report, SORTED, tmp_path)
    assert up == ["ascending", "-0.5", "9", "10", "+2e1", "–"]
    assert down == ["descending", "+2e1", "10", "9", "-0.5", "–"]
    assert column == [0.08, 4] and reachable == 0  # also by the keyboard


PHONE = """
const wide = [...document.querySelectorAll("body *")].filter(part => !part.closest(".wide > *"))
  .filter(part => part.getBoundingClientRect().right > innerWidth + 1).map(part => part.tagName + "." + part.className);
parent.postMessage({ width: innerWidth, page: document.documentElement.scrollWidth, wide,
  strips: document.querySelector(".strips img").getBoundingClientRect().width }, "*");
"""


def test_a_phone_scrolls_wide_parts_and_not_the_page(report, tmp_path):
    inner = report.with_name("inner.html")
    inner.write_text(report.read_text().replace("</body>", f"<script>onload = () => {{ {PHONE} }}</script></body>"))
    outer = report.with_name("outer.html")  # a frame of 390 pixels: a headless window cannot be as narrow
    outer.write_text(
        '<body><iframe width="390" height="800" style="border: 0" src="inner.html"></iframe><script>'
        'addEventListener("message", event => document.body.append(JSON.stringify(event.data)))</script></body>'
    )
    text = shown(outer.as_uri(), tmp_path)
    said = json.loads(re.search(r"\{.*\}", text)[0])
    assert said["width"] == 390 and said["page"] <= 390 and said["wide"] == []
    assert said["strips"] > 600  # of a size that can be read


PRINTED = """
const folds = [...document.querySelectorAll("details")], open = () => folds.filter(part => part.open).length;
const said = [folds.length, open()];
dispatchEvent(new Event("beforeprint")); said.push(open());
dispatchEvent(new Event("afterprint")); said.push(open());
tell(said);
"""


def test_print_opens_what_is_folded(report, tmp_path):
    count, before, during, after = told(report, PRINTED, tmp_path)
    assert count >= 3 and before == after == 0 and during == count
    if shutil.which("pdftotext") is None:
        return
    import subprocess

    shown(report.as_uri(), tmp_path, f"--print-to-pdf={tmp_path / 'report.pdf'}")
    text = subprocess.run(["pdftotext", "-layout", tmp_path / "report.pdf", "-"], capture_output=True, text=True).stdout
    assert "diffusion.width" in text and "train_generator fold=0" in text  # settings and jobs are on paper
