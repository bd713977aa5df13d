"""Folders of the collections become index rows; what is wrong becomes a reason."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lddm.data.index import build_index, check_index
from lddm.data.preprocess import preprocess
from lddm.data.sources import busv, folder, pocus
from lddm.errors import LddmError
from lddm.io.video import write_video
from lddm.settings.data import BusvSource, FolderSource, IndexSettings, PocusSource, PreprocessSettings

CLASSES = ["benign", "malignant"]
REAL_DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def speckle(seed, frames=30, height=40, width=48):
    rng = np.random.default_rng(seed)
    texture = np.kron(rng.integers(20, 235, (height, width // 2 + 1)), np.ones((2, 2)))[: 2 * height, :width]
    steps = np.round(3 * np.sin(np.arange(frames) / 2 + seed)).astype(int) + height // 2
    return np.stack([texture[s : s + height] for s in steps]).astype(np.uint8)


def write_frames(folder, frames, numbers=None):
    folder.mkdir(parents=True)
    for number, frame in zip(numbers or range(len(frames)), frames, strict=False):
        Image.fromarray(frame).save(folder / f"{number:06d}.png")


def busv_tree(root, videos=4, frames=24):
    """A tree in the form of the CVA-Net release: videos of each class, with both forms of annotations."""
    raw = root / "busv/rawframes"
    images, annotations = [], []
    for c, name in enumerate(CLASSES):
        for number in range(videos):
            clip = speckle(100 * c + number, frames=frames)
            write_frames(raw / name / f"x{c}{number:015x}", clip)
            images.append({"id": len(images), "file_name": f"{name}/x{c}{number:015x}/000000.png"})
            annotations.append({"image_id": len(images) - 1, "category_id": c + 1})
    content = {"images": images, "annotations": annotations, "categories": []}
    (root / "busv/imagenet_vid_train_15frames.json").write_text(json.dumps(content))
    return raw


def test_busv_reads_the_longest_run_of_frames(tmp_path):
    write_frames(tmp_path / "v", speckle(0, frames=10), numbers=[0, 1, 2, 7, 8, 9, 10, 20, 21, 22])
    assert [path.stem for path in busv.longest_run(tmp_path / "v")] == ["000007", "000008", "000009", "000010"]


def test_busv_errata_clusters_and_contradictions(tmp_path):
    raw = busv_tree(tmp_path)
    write_frames(raw / "benign" / "63c9ba1377f35bf6", speckle(50))  # errata: malignant
    write_frames(raw / "benign" / "x66ef02e7f1b9a0ef", speckle(51))  # errata: a copy
    shared = speckle(60)
    write_frames(raw / "malignant" / "xaaa", shared[:20])
    write_frames(raw / "malignant" / "xbbb", shared[10:])  # overlaps with the one before
    write_frames(raw / "benign" / "xccc", speckle(61))
    write_frames(raw / "malignant" / "xddd", speckle(61))  # the same video in both classes
    table = pd.DataFrame(busv.rows(BusvSource(), tmp_path, CLASSES)).set_index(
        pd.Index([Path(row["path"]).name for row in busv.rows(BusvSource(), tmp_path, CLASSES)])
    )
    assert table.loc["63c9ba1377f35bf6", "class_name"] == "malignant"
    assert "errata" in table.loc["x66ef02e7f1b9a0ef", "excluded"]
    assert table.loc["xaaa", "cluster"] == table.loc["xbbb", "cluster"] is not None
    assert "other class" in table.loc["xccc", "excluded"] and "other class" in table.loc["xddd", "excluded"]
    assert table["excluded"].isna().sum() == 8 + 1 + 2


def test_busv_is_compared_with_what_is_known_of_the_release(tmp_path):
    raw = busv_tree(tmp_path)
    few = busv.compared_with_release(busv.rows(BusvSource(), tmp_path, CLASSES))
    n = len(list(raw.glob("*/*")))
    assert f"{n} videos" in few[0] and f"{188 - n} are missing" in few[0]
    assert any("benign/66ef02e7f1b9a0ef" in line and "not present" in line for line in few)
    (first,) = sorted((raw / "benign").iterdir())[:1]
    first.rename(raw / "benign/x63c9ba1377f35bf6")
    rows = busv.rows(BusvSource(), tmp_path, CLASSES)
    told = "\n".join(busv.compared_with_release(rows))
    assert "1 of the 5 listed videos are present" in told and "1 relabelled as malignant" in told
    frames = next(row["n_frames"] for row in rows if "63c9ba1377f35bf6" in row["path"])
    assert f"has {frames} consecutively numbered frames; the errata state 97" in told
    whole = rows + [dict(rows[-1], path=f"busv/rawframes/benign/{i:x}") for i in range(188 - len(rows))]
    assert "as many as in the BUSV release" in busv.compared_with_release(whole)[0]
    assert "1 are not part of it" in busv.compared_with_release([*whole, whole[-1]])[0]


def test_a_black_frame_of_all_busv_videos_clusters_none(tmp_path):
    for video in busv_tree(tmp_path, frames=4).glob("*/*"):
        Image.fromarray(np.zeros((48, 48), np.uint8)).save(video / "000004.png")
    table = pd.DataFrame(busv.rows(BusvSource(), tmp_path, CLASSES))
    assert table["cluster"].isna().all() and table["excluded"].isna().all()


def test_busv_annotation_that_contradicts_its_folder_is_excluded(tmp_path):
    raw = busv_tree(tmp_path)
    content = {
        "images": [{"id": 1, "file_name": "benign/x0000000000000000/000000.png"}],
        "annotations": [{"image_id": 1, "category_id": 2}],
    }
    (tmp_path / "busv/imagenet_vid_train_15frames.json").unlink()
    (tmp_path / "busv/train.json").write_text(json.dumps(content))  # the other naming of the release
    rows = {Path(row["path"]).name: row for row in busv.rows(BusvSource(), tmp_path, CLASSES)}
    assert "malignant in the annotations" in rows["x0000000000000000"]["excluded"]
    assert raw.is_dir() and rows["x0000000000000001"]["excluded"] is None
    (tmp_path / "busv/val.json").write_text('{"images": 3}')
    with pytest.raises(LddmError, match="COCO-VID"):
        busv.rows(BusvSource(), tmp_path, CLASSES)


def pocus_tree(root):
    folder = root / "pocus"
    (folder / "pocus_videos/convex").mkdir(parents=True)
    rows = []
    for number in range(8):
        name = f"Vid_{number}.mp4" if number % 2 else f"Vid_{number}.avi"
        write_video(folder / "pocus_videos/convex" / name, speckle(number), 20)
        label = ["Regular ", "Bacterial pneumonia"][number % 2]
        rows.append(
            [name.upper() if number == 2 else name, label, "CC BY - 4.0", "Convex", f"{number // 2 + 1}.0", "video"]
        )
    write_video(folder / "pocus_videos/convex/unknown.mp4", speckle(99), 20)
    (folder / "pocus_videos/linear").mkdir()
    write_video(folder / "pocus_videos/linear/linear.mp4", speckle(98), 20)
    rows.append(["linear.mp4", "regular", "", "linear", "77", "video"])
    columns = ["Filename", "Label", "License", "Probe", "Patient ID / Name", "Type"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "dataset_metadata.csv", index=False)


def test_pocus_joins_metadata_in_spite_of_their_spelling(tmp_path):
    pocus_tree(tmp_path)
    rows = {Path(r["path"]).name: r for r in pocus.rows(PocusSource(), tmp_path, ["regular", "pneumonia"])}
    assert rows["Vid_1.mp4"]["class_name"] == "pneumonia" and rows["Vid_2.avi"]["class_name"] == "regular"
    assert rows["Vid_0.avi"]["patient_id"] == rows["Vid_1.mp4"]["patient_id"] != rows["Vid_2.avi"]["patient_id"]
    assert rows["Vid_0.avi"]["licence"].startswith("CC BY")
    assert "no row" in rows["unknown.mp4"]["excluded"] and "linear" in rows["linear.mp4"]["excluded"]
    (tmp_path / "pocus/dataset_metadata.csv").write_text("Filename,Label\n")
    with pytest.raises(LddmError, match="License"):
        pocus.rows(PocusSource(), tmp_path, ["regular", "pneumonia"])


def folder_tree(root):
    """Ten good videos and one of each kind of bad file."""
    own = root / "own"
    for c, name in enumerate(CLASSES):
        (own / name).mkdir(parents=True)
        for number in range(5):
            write_video(own / name / f"good {number}.avi", speckle(10 * c + number), 10)
    bad = own / "benign"
    (bad / "corrupt.mp4").write_bytes(b"not a video" * 50)
    (bad / "empty.avi").write_bytes(b"")
    write_video(bad / "one-frame.avi", speckle(70, frames=1), 10)
    write_video(bad / "short.avi", speckle(71, frames=6), 10)
    write_video(bad / "black.avi", np.zeros((30, 40, 48), np.uint8), 10)
    write_video(bad / "tiny.avi", speckle(72, height=16, width=16), 10)
    write_video(bad / "frozen.avi", np.repeat(speckle(73, frames=1), 30, axis=0), 10)
    (bad / "notes.txt").write_text("no video")
    (own / "patients.csv").write_text("file,patient_id\nbenign/good 0.avi,P1\nbenign/good 1.avi,P1\n")
    return IndexSettings(sources=[FolderSource(folder="own", patients="patients.csv")])


def test_bad_files_are_excluded_with_a_reason_and_the_rest_is_used(tmp_path):
    sources = folder_tree(tmp_path)
    index = build_index(sources, tmp_path, 0)
    settings = PreprocessSettings(size=32, clip_hop=4)
    preprocess(index, sources, settings, tmp_path, tmp_path / "frames", 0)
    videos = pd.read_parquet(tmp_path / "frames/videos.parquet").set_index("path")
    clips = pd.read_parquet(tmp_path / "frames/clips.parquet")
    reasons = {Path(path).name: reason for path, reason in videos["excluded"].items() if reason is not None}
    expected = {
        "corrupt.mp4": "unreadable",
        "empty.avi": "unreadable",
        "one-frame.avi": "one frame",
        "short.avi": "too short",
        "black.avi": "black",
        "tiny.avi": "too small",
    }
    for name, text in expected.items():
        assert text in reasons[name], (name, reasons[name])
    assert not any(Path(path).name == "notes.txt" for path in videos.index)
    frozen = clips[clips["id"] == videos.loc["own/benign/frozen.avi", "id"]]
    assert frozen["excluded"].str.contains("frozen").all()
    assert videos.loc["own/benign/good 0.avi", "patient_id"] == videos.loc["own/benign/good 1.avi", "patient_id"]
    good = clips[clips["excluded"].isna()]
    assert good["id"].nunique() == 10 and (good.groupby("id").size() > 1).all()


def test_a_class_without_files_stops_before_training(tmp_path):
    for name in CLASSES:
        (tmp_path / "own" / name).mkdir(parents=True)
    write_video(tmp_path / "own/benign/a.avi", speckle(0), 10)
    sources = IndexSettings(sources=[FolderSource(folder="own")])
    with pytest.raises(LddmError, match="malignant"):
        check_index(build_index(sources, tmp_path, 0), CLASSES)


def test_paths_cannot_leave_the_data_folder(tmp_path):
    outside = tmp_path / "outside.avi"
    write_video(outside, speckle(0), 10)
    data = tmp_path / "data"
    (data / "own/benign").mkdir(parents=True)
    (data / "own/benign/link.avi").symlink_to(outside)
    write_video(data / "own/benign/fine.avi", speckle(1), 10)
    (data / "own/malignant").mkdir()
    write_video(data / "own/malignant/fine.avi", speckle(2), 10)
    table = build_index(IndexSettings(sources=[FolderSource(folder="own")]), data, 0).set_index("path")
    assert "outside the data folder" in table.loc["own/benign/link.avi", "excluded"]


@pytest.mark.skipif(not (REAL_DATA / "busi").is_dir(), reason="the BUSI images are not here")
def test_busv_shaped_videos_with_the_real_busi_stills(tmp_path):
    from lddm.settings.data import BusiSource

    busv_tree(tmp_path)
    (tmp_path / "busi").symlink_to(REAL_DATA / "busi")
    settings = IndexSettings(sources=[BusvSource(), BusiSource()])
    index = build_index(settings, tmp_path, 0)
    stills = index[index["source"] == "busi"]
    usable = stills[stills["excluded"].isna()]
    assert set(usable["class_name"]) == {"benign", "malignant"} and (usable["kind"] == "image").all()
    assert len(usable) > 200 and usable["id"].is_unique
    excluded = stills[stills["excluded"].notna()]
    assert excluded["excluded"].str.contains("normal").any()  # the third class of BUSI is not asked for


def test_a_csv_of_patients_may_have_gaps_and_a_byte_order_mark(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / "mine/benign").mkdir(parents=True, exist_ok=True)
        Image.fromarray(speckle(0)[0]).save(tmp_path / f"mine/benign/{name}.png")
    text = "file,patient_id\nbenign/a.png,7\nb.png, 7 \nc.png,\n"
    (tmp_path / "mine/patients.csv").write_text(text, encoding="utf-8-sig")
    rows = folder.rows(FolderSource(folder="mine", patients="patients.csv"), tmp_path, CLASSES)
    a, b, c, d = (row["patient_id"] for row in sorted(rows, key=lambda row: row["path"]))
    assert a == b == "folder-patient-7"
    assert [c, d] == [row["id"] for row in sorted(rows, key=lambda row: row["path"])[2:]]  # each a patient of its own


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns file, patient_id; it has nothing"),
        (b"\xff\xfe\x00", "is not a CSV in UTF-8"),
        (b"\x00\x01" * 9, "is not a CSV in UTF-8"),
        (b'file,patient_id\n"a', "is not a CSV"),
        (b"file,patient_id\n", "has no rows below the column names"),
        (b"patient_id,file,age\n7\n", "row 2 has 1 columns, expected 3"),
        (b"name,patient\na,b\n", "lacks the columns file, patient_id; it has name,patient"),
        (b"file,patient_id\na.png,1\na.png,2\n", "assigns benign/a.png to two patients"),
        (
            b"file,patient_id\nx/a.png,1\nb.png,2\n",
            "none of its 2 rows matches a readable file; the first row names 'x/a.png'",
        ),
        (b"file,patient_id\nc.png,1\n", "'c.png' matches 2 files: benign/c.png, malignant/c.png"),
        (None, "does not exist"),
    ],
)
def test_a_csv_of_patients_that_cannot_be_meant_is_one_error(tmp_path, content, message):
    for name in ("benign/a", "benign/c", "malignant/c"):
        path = tmp_path / f"mine/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(speckle(0)[0]).save(path)
    if content is not None:
        (tmp_path / "mine/patients.csv").write_bytes(content)
    with pytest.raises(LddmError, match=message):
        folder.rows(FolderSource(folder="mine", patients="patients.csv"), tmp_path, CLASSES)


def test_metadata_of_the_lung_collection_that_are_no_table_are_one_error(tmp_path):
    (tmp_path / "pocus").mkdir()
    (tmp_path / "pocus/dataset_metadata.csv").write_bytes(b"\x00\xff" * 50)
    with pytest.raises(LddmError, match="dataset_metadata.csv (is not a CSV|lacks)"):
        pocus.rows(PocusSource(), tmp_path, CLASSES)
