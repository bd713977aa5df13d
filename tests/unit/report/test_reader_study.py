"""The reader study: a page without hints, used in a real browser, and its scores."""

import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import binomtest
from typer.testing import CliRunner

from lddm.cli import evaluation
from lddm.errors import LddmError
from lddm.report.provenance import write_provenance
from lddm.report.reader_score import read_answers, read_arms, score, score_arms
from lddm.report.reader_study import reader_study
from lddm.report.results import Results
from lddm.statistics.readers import pooled_interval
from tests.browser import needs_browser, shown
from tests.markup import Markup


@pytest.fixture
def study(results, settings, tmp_path):
    """Page and key of three clips (the tiny experiment holds out three patients)."""
    write_provenance(results, settings, results / "provenance.json")
    page, key = tmp_path / "page/study.html", tmp_path / "key/key.csv"
    assert reader_study(results, page, key, 3, ["lddm"], 5) == 3
    return page, key


def content_of(page):
    text = page.read_text()
    return json.loads(re.search(r'<script id="content" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_no_hint_and_the_key_lies_elsewhere(study, results, tmp_path):
    page, key = study
    truth = pd.read_csv(key)
    assert sorted(truth["generator"]) == ["lddm", "real", "real"] and truth["patient_id"].is_unique
    items = content_of(page)["items"]
    assert [item["item"] for item in items] == truth["item"].tolist()
    visible = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", page.read_text())
    for secret in [*truth["clip_id"], *truth["patient_id"], "generator"]:
        assert secret not in visible
    assert {frozenset(item) for item in items} == {frozenset({"item", "clips"})}
    assert all((clip["name"], clip["mark"]) == ("", "") for item in items for clip in item["clips"])
    assert Markup(page.read_text()).problems == []
    assert not re.search(r'(src|href)="http', visible)
    again = tmp_path / "again/study.html"
    reader_study(results, again, tmp_path / "key2/key.csv", 3, ["lddm"], 5)
    assert again.read_text() == page.read_text()
    with pytest.raises(LddmError, match="lies beside the page"):
        reader_study(results, page, page.with_name("key.csv"), 3, ["lddm"], 5)
    before = key.read_bytes()
    reader_study(results, page, key, 3, ["lddm"], 5)  # the same study again
    with pytest.raises(LddmError, match="key of another study"):
        reader_study(results, page.with_name("other.html"), key, 3, ["lddm"], 6)
    assert key.read_bytes() == before and not page.with_name("other.html").exists()
    with pytest.raises(LddmError, match="4 clips of different patients wanted, 3 patients held out") as said:
        reader_study(results, page, key, 4, ["lddm"], 5)
    assert "--clips" not in said.value.hint  # which refuses fewer than 4
    with pytest.raises(LddmError, match="cinn is not among the generators of this run"):
        reader_study(results, page, key, 3, ["cinn"], 5)


def frames_of(clip):
    """Frames uint8 (T + 1, H, W) of a clip of the page, and the decoded image."""
    image = Image.open(io.BytesIO(base64.b64decode(clip["source"].split(",")[1])))
    grey, height, width = np.asarray(image.convert("L")), clip["height"], clip["width"]
    tiles = grey.reshape(-1, height, clip["columns"], width).swapaxes(1, 2).reshape(-1, height, width)
    return tiles[: clip["count"]], image


def test_clips_are_written_alike_without_metadata_and_without_loss(study, results, settings):
    page, key = study
    seen, truth = set(), pd.read_csv(key).set_index("item")
    for item in content_of(page)["items"]:
        (clip,) = item["clips"]
        frames, image = frames_of(clip)
        assert not image.info.get("exif") and not image.info.get("xmp") and not image.info.get("icc_profile")
        seen.add((image.size, frames.shape))
        if truth.loc[item["item"], "generator"] == "real":
            assert np.array_equal(frames, Results(results, settings).real_clip(truth.loc[item["item"], "clip_id"]))
    assert len(seen) == 1


def test_hostile_class_names_do_not_become_markup(results, settings, tmp_path, monkeypatch):
    bad = "</script><script>alert(1)</script>"
    meta = Results(results, settings).meta()
    monkeypatch.setattr(Results, "meta", lambda self: meta | {"classes": [bad, "b"]})
    write_provenance(results, settings, results / "provenance.json")
    page = tmp_path / "page/study.html"
    reader_study(results, page, tmp_path / "key/key.csv", 3, ["lddm"], 5)
    assert bad in content_of(page)["classes"] and "<script>alert" not in page.read_text()
    assert Markup(page.read_text()).problems == []


DRIVER = """
<script>
URL.createObjectURL = blob => { blob.text().then(text => { const pre = document.createElement("pre");
  pre.id = "exported"; pre.textContent = text; document.body.append(pre); }); return "#"; };
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
%s
if (state.reader === "") { at("reader").value = "A \\"B\\""; at("go").click(); }
const first = state.place;
%s
document.body.dataset.first = first; document.body.dataset.place = state.place; at("export").click();
</script>
"""


@needs_browser
def test_a_reader_in_a_browser_uses_keys_stops_comes_back_and_exports(study, tmp_path):
    page, key = study

    def visit(script, before=""):
        used = page.with_name("driven.html")
        used.write_text(page.read_text().replace("</body>", DRIVER % (before, script) + "</body>"))
        text = shown(used.as_uri(), tmp_path)
        exported = re.search(r'<pre id="exported">(.*?)</pre>', text, re.DOTALL)
        assert exported, text[-2000:]
        places = [int(re.search(rf'data-{name}="(\d+)"', text)[1]) for name in ("first", "place")]
        return places, exported[1]

    places, _ = visit('press("r"); press("Enter"); press("ArrowRight"); press("4"); press("Enter"); press("s");')
    assert places == [0, 1]  # an unfinished clip cannot be left
    places, text = visit(
        'press("ArrowLeft"); press("1"); press("Enter"); press("Backspace"); press("5"); press("Enter");'
    )
    assert places == [1, 2]  # it went on where it was left, with the answer given before
    (tmp_path / "answers.csv").write_text(text)
    table = pd.read_csv(tmp_path / "answers.csv", keep_default_na=False, dtype=str)
    assert table["reader"].unique().tolist() == ['A "B"']
    assert table["origin"].tolist() == ["real", "synthetic", ""] and table["quality"].tolist() == ["4", "5", ""]
    assert table["diagnosis"].tolist() == ["b", "a", ""] and table["item"].tolist() == pd.read_csv(key)["item"].tolist()
    assert len(read_answers([tmp_path / "answers.csv"], key)) == 2
    second = 'at("another").click(); at("reader").value = "C"; at("go").click();'
    places, text = visit('press("s"); press("ArrowLeft"); press("2"); press("Enter");', second)
    (tmp_path / "second.csv").write_text(text)
    assert places == [0, 1]  # another reader starts from the beginning
    both = read_answers([tmp_path / "answers.csv", tmp_path / "second.csv"], key)
    assert both.groupby("reader").size().to_dict() == {'A "B"': 2, "C": 1}
    places, text = visit("", second.replace('"C"', '"A \\"B\\""'))
    assert places == [2, 2] and pd.read_csv(io.StringIO(text), dtype=str)["origin"].notna().sum() == 2  # still there


PLAYED = """
<script>
present(content.items[0]).then(() => {
  const press = key => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const said = [player.playing, player.order.length, player.parts.line.closest("label").hidden];
  player.seek(0); press("."); press("."); press(","); said.push(player.frame);
  press("ArrowRight"); said.push(player.frame, answer().diagnosis);  // the arrows choose the diagnosis
  press(" "); said.push(player.playing);
  document.body.dataset.played = JSON.stringify(said);
});
</script>
"""


@needs_browser
def test_the_player_of_the_study_shares_the_keys_with_the_answers(study, tmp_path):
    page, _ = study
    start = '<script>at("reader").value = "A"; at("go").click(); presented = null;</script>'
    page.with_name("played.html").write_text(page.read_text().replace("</body>", start + PLAYED + "</body>"))
    said = re.search(r'data-played="(.*?)"', shown(page.with_name("played.html").as_uri(), tmp_path))
    # played to and fro (x0 and 8 frames), no M-mode line unless asked for
    assert json.loads(said[1].replace("&quot;", '"')) == [True, 16, True, 1, 1, "b", True]


def answers(path, key, reader, origins, diagnoses, quality):
    truth = pd.read_csv(key)
    table = {"study": "x", "reader": reader, "position": range(len(truth)), "item": truth["item"], "origin": origins}
    pd.DataFrame(table | {"diagnosis": diagnoses, "quality": quality, "seconds": 1.0}).to_csv(path, index=False)
    return path


@pytest.fixture
def key(tmp_path):
    """Truth of ten clips: five real, five of LDDM; classes in turn."""
    table = {"item": [f"i{i}" for i in range(10)], "generator": ["real"] * 5 + ["lddm"] * 5, "label": np.arange(10) % 2}
    table |= {"class_name": ["a", "b"] * 5, "clip_id": [f"c{i}" for i in range(10)], "patient_id": "p", "fold": 0}
    pd.DataFrame(table).to_csv(tmp_path / "key.csv", index=False)
    return tmp_path / "key.csv"


def test_scores_are_those_of_hand_made_answers(key, tmp_path):
    sharp = answers(
        tmp_path / "1.csv", key, "sharp", ["real"] * 5 + ["synthetic"] * 5, ["a", "b"] * 5, [5] * 5 + [2] * 5
    )
    fooled = answers(tmp_path / "2.csv", key, "fooled", ["real"] * 10, ["a"] * 10, [4] * 10)
    found = score(read_answers([sharp, fooled], key))
    told = found["readers"]["sharp"]["real or synthetic"]
    assert told["value"] == 1 and told["low"] == pytest.approx(0.6915, abs=1e-3) and told["n"] == 10  # Clopper-Pearson
    assert found["readers"]["fooled"]["real or synthetic"]["value"] == 0.5
    assert found["readers"]["fooled"]["diagnosis"]["value"] == 0.5
    assert found["sources"]["lddm"]["called real"]["value"] == 0.5 and found["sources"]["real"]["mean quality"] == 4.5
    assert found["agreement"]["fooled and sharp"]["origin"] == 0  # one never varied: no agreement beyond chance
    assert [clip["item"] for clip in found["fooled"]] == ["i5", "i6", "i7", "i8", "i9"]
    assert all(clip["by"] == ["fooled"] and clip["generator"] == "lddm" for clip in found["fooled"])
    done = CliRunner().invoke(
        evaluation.app,
        ["reader-study-score", str(sharp), str(fooled), "--key", str(key), "--out", str(tmp_path / "s.json")],
    )
    assert done.exit_code == 0 and "reader sharp: real or synthetic 1.00 [0.69, 1.00] (n = 10)" in done.output
    assert json.loads((tmp_path / "s.json").read_text()) == found


def test_wrong_answers_files_are_refused(key, tmp_path):
    good = answers(tmp_path / "1.csv", key, "x", ["real"] * 10, ["a"] * 10, [4] * 10)
    with pytest.raises(LddmError, match="answered a clip twice"):
        read_answers([good, good], key)
    other = pd.read_csv(good)
    other["item"] = "zz"
    other.to_csv(tmp_path / "2.csv", index=False)
    with pytest.raises(LddmError, match="zz is not in the key"):
        read_answers([tmp_path / "2.csv"], key)
    other.drop(columns="origin").to_csv(tmp_path / "3.csv", index=False)
    with pytest.raises(LddmError, match="expected the columns"):
        read_answers([tmp_path / "3.csv"], key)
    with pytest.raises(LddmError, match="no clip was answered"):
        read_answers([answers(tmp_path / "4.csv", key, "y", [""] * 10, ["a"] * 10, [4] * 10)], key)


def pooled(table):
    """Interval of a matrix of answers (readers, clips)."""
    readers, items = np.indices(table.shape)
    return pooled_interval(table.ravel(), readers.ravel(), items.ravel())


def test_readers_who_answer_alike_add_no_certainty():
    one = np.arange(20)[None] < 10
    exact = pooled(one)
    assert exact == pytest.approx((0.272, 0.728), abs=1e-3)  # Clopper-Pearson
    assert pooled(np.repeat(one, 10, axis=0)) == pytest.approx(exact)
    independent = np.random.default_rng(0).random((10, 20)) < 0.5
    low, high = pooled(independent)
    assert high - low < 0.7 * (exact[1] - exact[0])  # who do add some
    opposed = np.stack([np.ones(20, bool), np.zeros(20, bool)])
    low, high = pooled(opposed)  # two readers of opposite mind say nothing about a third
    assert low < 0.02 and high > 0.98
    assert pooled(np.ones((10, 20), bool)) == pytest.approx((0.832, 1), abs=1e-3)  # 20 of 20 clips


def test_the_interval_over_clips_and_readers_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = {"pooled": 0, "naive": 0}
    rounds = 400
    for _ in range(rounds):  # answers depend on the clip and on the reader; the mean over both populations is 0.5
        chance = 1 / (1 + np.exp(-(rng.normal(0, 1.5, (1, 20)) + rng.normal(0, 0.5, (5, 1)))))
        table = rng.random((5, 20)) < chance
        low, high = pooled(table)
        covered["pooled"] += low <= 0.5 <= high
        naive = binomtest(int(table.sum()), table.size).proportion_ci()
        covered["naive"] += naive.low <= 0.5 <= naive.high
    assert 0.93 <= covered["pooled"] / rounds <= 0.995 and covered["naive"] / rounds < 0.9


def test_the_agreement_of_all_readers_is_that_of_fleiss(key, tmp_path):
    told = {"x": "rrrrrsssss", "y": "rrrrssssss", "z": "rrrsssssss"}
    names = {"r": "real", "s": "synthetic"}
    files = [
        answers(tmp_path / f"{reader}.csv", key, reader, [names[a] for a in line], ["a"] * 10, [4] * 10)
        for reader, line in told.items()
    ]
    agreement = score(read_answers(files, key))["agreement"]
    # by hand: 8 clips agreed by all (1), 2 by two of three (1/3): 13/15; shares 12/30 and 18/30: 0.52
    assert agreement["all readers (Fleiss)"] == {
        "origin": pytest.approx((13 / 15 - 0.52) / 0.48, abs=1e-3),
        "diagnosis": None,
    }


def arms_of(tmp_path, rng, gain, readers=4, cases=60):
    """Key and answers of simulated readers of both arms; `gain` is what the video adds to the separation."""
    label = np.arange(cases) % 2
    truth = [
        {"item": f"{arm}{case}", "generator": "lddm", "label": label[case], "class_name": "ab"[label[case]],
         "clip_id": f"c{case}", "patient_id": f"p{case}", "fold": 0, "arm": arm}
        for arm in ("still", "video") for case in range(cases)
    ]  # fmt: skip
    key = tmp_path / "arms.csv"
    pd.DataFrame(truth).to_csv(key, index=False)
    hard, files = rng.normal(0, 0.7, cases), []
    for reader in range(readers):
        skill, own, rows = rng.normal(1.0, 0.15), rng.normal(0, 0.5, cases), []
        for arm, more in (("still", 0.0), ("video", gain)):
            score = (2 * label - 1) * (skill + more) / 2 + hard + own + rng.normal(0, 0.5, cases)
            sure = np.clip(np.ceil(2 * np.abs(score)), 1, 5).astype(int)
            rows += [
                {"study": "x", "reader": f"r{reader}", "item": f"{arm}{case}", "diagnosis": "ab"[int(score[case] > 0)],
                 "certainty": sure[case], "seconds": 1.0}
                for case in range(cases)
            ]  # fmt: skip
        files.append(tmp_path / f"r{reader}.csv")
        pd.DataFrame(rows).to_csv(files[-1], index=False)
    return files, key


def test_simulated_readers_who_see_more_in_videos_are_found(tmp_path):
    rng = np.random.default_rng(0)
    found = score_arms(read_arms(*arms_of(tmp_path, rng, 1.2)))
    assert found["difference"]["low"] > 0 and found["difference"]["p"] < 0.05 and found["cases"] == 60
    assert found["arms"]["video"]["auc"] > found["arms"]["still"]["auc"] > 0.6
    reader = found["readers"]["r0"]["video"]
    assert reader["sensitivity"]["n"] == reader["specificity"]["n"] == 30 and reader["accuracy"]["p_guessing"] < 0.01
    assert 0 < found["agreement"]["video"] < 1
    nothing = score_arms(read_arms(*arms_of(tmp_path, rng, 0.0)))["difference"]
    assert nothing["low"] < 0 < nothing["high"] and nothing["p"] > 0.05


def test_arms_that_cannot_be_compared_say_why(tmp_path, key):
    files, truth = arms_of(tmp_path, np.random.default_rng(0), 0.5, readers=1, cases=8)
    with pytest.raises(LddmError, match="two readers"):
        score_arms(read_arms(files, truth))
    with pytest.raises(LddmError, match="no key of a study of two arms"):
        read_arms(files, key)


def test_two_arms_show_the_same_patients_as_stills_and_beside_their_videos(results, settings, tmp_path):
    write_provenance(results, settings, results / "provenance.json")
    page, key = tmp_path / "page/study.html", tmp_path / "key/key.csv"
    assert reader_study(results, page, key, 3, ["lddm"], 5, arms=True) == 6
    truth, content = pd.read_csv(key), content_of(page)
    assert truth["arm"].tolist() == ["still"] * 3 + ["video"] * 3 and (truth["generator"] == "lddm").all()
    by_arm = truth.groupby("arm")
    assert set(by_arm.get_group("still")["clip_id"]) == set(by_arm.get_group("video")["clip_id"])
    assert by_arm.get_group("still").set_index("clip_id")["class_name"].to_dict() == (
        by_arm.get_group("video").set_index("clip_id")["class_name"].to_dict()
    )
    assert content["questions"] == ["diagnosis", "certainty"] and "computer made from" in page.read_text()
    shown = [[(clip["name"], clip["mark"], clip["count"]) for clip in item["clips"]] for item in content["items"]]
    still, length = ("real image", "", 1), Results(results, settings).meta()["clip_length"] + 1
    assert shown == [[still]] * 3 + [[still, ("video", "synthetic", length)]] * 3
    first, moving = content["items"][3]["clips"]
    assert np.array_equal(frames_of(first)[0][0], frames_of(moving)[0][0])
