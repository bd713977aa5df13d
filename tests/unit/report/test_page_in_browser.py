"""The report in a real browser: tables sort, videos play, a phone can read it, and print shows what is folded."""

import json
import re
import shutil

import numpy as np
import pytest

from lddm.report.page import page
from lddm.report.results import Results
from lddm.report.strips import choose, strips
from lddm.report.style import save
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
    """The page, with the two pictures that it folds."""
    rows = [("a", {"real": np.zeros((9, 16, 16), np.uint8)})] * 2
    for name in ("strips", "failures"):
        save(strips(rows, 10.0), results / f"figures/{name}.png")
    page(settings, results, results / "report.html")
    return results / "report.html"


def told(report, script, tmp_path, *options):
    """What a script in the page says."""
    driven = report.with_name("driven.html")
    driven.write_text(report.read_text().replace("</body>", TELL % script + "</body>"))
    text = shown(driven.as_uri(), tmp_path, *options)
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
own.querySelector("button").click();
const column = [...own.closest("table").tBodies[0].rows].map(row => Number(row.cells[own.cellIndex].firstChild.textContent));
tell([...said, column, own.querySelector("button").tabIndex]);
"""


def test_a_heading_sorts_by_number_up_and_down_with_dashes_last(report, tmp_path):
    up, down, column, reachable = told(report, SORTED, tmp_path)
    assert up == ["ascending", "-0.5", "9", "10", "+2e1", "–"]
    assert down == ["descending", "+2e1", "10", "9", "-0.5", "–"]
    numbers = [value for value in column if value is not None]  # None: a dash
    assert numbers == sorted(numbers) and {0.08, 4} <= set(numbers)
    assert column == numbers + [None] * (len(column) - len(numbers))
    assert reachable == 0  # by the keyboard


PLAYED = """
players[0].ready.then(() => {
  const player = players[0], { videos, play, back, on, time, clock, line, size, mode } = player.parts, said = {};
  const grey = ({ canvas }) => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]
    .filter((_, place) => place % 4 === 0);
  const press = (key, target = videos) =>
    target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const touch = (kind, part, share) => { const area = part.getBoundingClientRect();
    const clientX = area.left + share * area.width;
    part.dispatchEvent(new PointerEvent(kind, { clientX, isPrimary: true, buttons: 1, bubbles: true })); };
  said.begins = [player.playing, play.textContent];
  const lddm = player.clips.find(clip => clip.name.startsWith("LDDM"));
  player.seek(0); player.play(true); player.visible = true; player.last = 0; player.tick(1e6);
  said.ticked = [player.frame, time.value, clock.textContent];
  said.frame = grey(lddm.frame);
  on.click(); said.stepped = [player.frame, player.playing, play.textContent];
  back.click(); back.click(); back.click(); said.wrapped = player.frame;
  press("ArrowRight"); press("."); press("ArrowRight"); press(","); said.keys = player.frame;
  press("ArrowRight", line); said.sliders = player.frame;  // a slider keeps its own keys
  press(" "); said.space = player.playing; press(" ");
  time.value = 5; time.dispatchEvent(new Event("input")); said.sought = [player.frame, time.getAttribute("aria-valuetext")];
  touch("pointerdown", player.clips[0].frame.part, 0.1); touch("pointermove", player.clips[0].frame.part, 0.7);
  said.line = line.value; said.column = grey(lddm.mode);
  touch("pointerdown", lddm.mode.part, 0.5); said.scrubbed = player.frame;
  const shown = lddm.frame.canvas.getBoundingClientRect();
  said.size = [shown.width, shown.height, lddm.width, Number(size.value), getComputedStyle(lddm.frame.canvas).imageRendering];
  mode.click(); said.hidden = [lddm.mode.part.hidden, lddm.frame.cursor.hidden];
  said.marks = player.clips.map(clip => [clip.name, clip.mark, clip.frame.canvas.getAttribute("aria-label")]);
  said.players = players.length;
  tell(said);
});
"""


@pytest.mark.parametrize("reduced", [False, True])
def test_the_player_plays_steps_and_moves_its_line(report, results, settings, tmp_path, reduced):
    said = told(report, PLAYED, tmp_path, *(["--force-prefers-reduced-motion"] if reduced else []))
    assert said["begins"] == ([False, "Play"] if reduced else [True, "Pause"])
    found = Results(results, settings)
    clip = choose(found, settings.report.strips)[0][1]["lddm"]
    count, height, width = clip.shape
    assert said["ticked"] == [1, "1", f"{1 / found.meta()['fps']:.2f} s"]
    assert said["frame"] == clip[1].ravel().tolist()  # the pixels of the video, unchanged
    assert said["stepped"] == [2, False, "Play"] and said["wrapped"] == count - 1
    assert said["keys"] == said["sliders"] == 1 and said["space"] is True
    assert said["sought"] == [5, f"frame 5, {5 / found.meta()['fps']:.2f} s"]
    assert said["line"] == "700" and np.array_equal(said["column"], clip[:, :, int(width * 0.7)].T.ravel())
    assert said["scrubbed"] == count // 2
    wide, high, own, factor, rendering = said["size"]
    assert own == width and wide == width * factor and high == height * factor and rendering == "pixelated"
    assert said["hidden"] == [True, True]
    assert (
        said["marks"][0] == ["real", "", "real"]
        and ["LDDM (ours)", "synthetic", "LDDM (ours), synthetic"] in said["marks"]
    )
    assert said["players"] == 5  # two first frames, three failures: no search for copies was done


STYLES = """
const look = () => Object.fromEntries(["nav", ".case", ".card", ".controls"].map(name =>
  [name, getComputedStyle(document.querySelector(name)).display]));
const dark = matchMedia("(prefers-color-scheme: dark)").matches, page = getComputedStyle(document.body);
const said = { dark, colours: [page.backgroundColor, page.color], screen: look() };
const all = rules => [...rules].flatMap(rule => rule.cssRules ? [rule, ...all(rule.cssRules)] : [rule]);
for (const rule of all(document.styleSheets[0].cssRules)) if (rule.media?.mediaText === "print") rule.media.mediaText = "all";
said.paper = look();
said.ink = [page.backgroundColor, page.color];
tell(said);
"""


def test_dark_pages_are_dark_and_paper_is_white_without_players(report, tmp_path):
    light, dark = (told(report, STYLES, tmp_path, *options) for options in ([], ["--force-dark-mode"]))
    assert not light["dark"] and dark["dark"] and light["colours"] != dark["colours"]
    for said in (light, dark):
        assert said["screen"][".case"] != "none" and said["paper"][".card"] != "none"
        assert said["paper"]["nav"] == said["paper"][".case"] == "none"
        assert said["ink"] == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]


PHONE = """
document.querySelectorAll("details").forEach(part => { part.open = true; });
const wide = [...document.querySelectorAll("body *")].filter(part => !part.closest(".wide > *, nav > *"))
  .filter(part => part.getBoundingClientRect().right > innerWidth + 1).map(part => part.tagName + "." + part.className);
parent.postMessage({ width: innerWidth, page: document.documentElement.scrollWidth, wide,
  screen: document.querySelector(".effect").getBoundingClientRect().bottom,
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
    assert said["screen"] < 800  # the effect is on the first screen


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
