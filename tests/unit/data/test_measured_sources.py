"""CAMUS, EchoNet-Dynamic and COVID-BLUES: files of the same form as the releases."""

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lddm.data.index import build_index, read_row
from lddm.data.preprocess import prepare_file
from lddm.errors import LddmError
from lddm.io.nifti import read_nifti
from lddm.io.recording import UnreadableFile
from lddm.io.video import write_video
from lddm.settings.data import IndexSettings, PreprocessSettings, TargetSettings
from lddm.settings.measured_sources import BluesSource, CamusSource, EchonetDynamicSource

SHARED = Path(os.environ.get("LDDM_TEST_DATA", Path(__file__).resolve().parents[3] / "../shared/data"))


def nifti(path, frames, spacing=(1.0, 1.0), order="<"):
    """Write frames uint8 (T, H, W) as NIfTI-1; spacing (row, column) in mm."""
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, 3, frames.shape[2], frames.shape[1], len(frames), 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", header, 70, 2, 8)
    struct.pack_into(f"{order}8f", header, 76, 1, spacing[1], spacing[0], 1, 0, 0, 0, 0)
    struct.pack_into(f"{order}f", header, 108, 352)
    header[123], header[344:348] = 2, b"n+1\0"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(bytes(header) + frames.transpose(2, 1, 0).tobytes(order="F")))


def speckle(count, side=64, seed=0):
    return np.random.default_rng(seed).integers(20, 235, (count, side, side), dtype=np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_nifti_sequence_is_read_upright_with_square_pixels(tmp_path, order):
    frames = speckle(3)
    frames[:, :32, :16] = 0  # dark at the upper left, higher than wide
    nifti(tmp_path / "a.nii.gz", frames, (0.3, 0.15), order)
    found, spacing = read_nifti(tmp_path / "a.nii.gz", 10)
    assert found.shape == (3, 128, 64) and spacing == pytest.approx((0.15, 0.15))
    assert (found[:, :60, :16] == 0).all() and found[:, 70:].mean() > 100 and found[:, :60, 20:].mean() > 100
    content = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "cut.nii").write_bytes(content[:-100])
    with pytest.raises(UnreadableFile, match="truncated"):
        read_nifti(tmp_path / "cut.nii", 10)
    (tmp_path / "no.nii.gz").write_bytes(b"no")
    with pytest.raises(UnreadableFile, match="cannot be decompressed"):
        read_nifti(tmp_path / "no.nii.gz", 10)


def test_a_nifti_archive_is_unpacked_no_further_than_its_frames(tmp_path):
    nifti(tmp_path / "a.nii.gz", speckle(3))
    content = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    with gzip.open(tmp_path / "bomb.nii.gz", "wb") as file:
        file.write(content)
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    found, _ = read_nifti(tmp_path / "bomb.nii.gz", 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 2 and peak < 2**23


@pytest.mark.parametrize("place", [80, 108])  # pixdim, vox_offset
def test_a_nifti_header_without_finite_sizes_is_refused(tmp_path, place):
    nifti(tmp_path / "a.nii.gz", speckle(3))
    content = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    struct.pack_into("<f", content, place, float("nan"))
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(UnreadableFile, match="not finite"):
        read_nifti(tmp_path / "a.nii", 10)


@pytest.fixture
def camus(tmp_path):
    """Two patients of the release; the second one's sequences run from end-systole to end-diastole."""
    for number, (ed, es, ef) in enumerate([(2, 6, 60), (6, 1, 25)], start=1):
        name = f"patient000{number}"
        for view in ("2CH", "4CH"):
            nifti(tmp_path / f"camus/{name}/{name}_{view}_half_sequence.nii.gz", speckle(6, seed=number))
            text = f"ED: {ed}\nES: {es}\nNbFrame: 6\nEF: {ef}\nFrameRate: 51.1\n"
            (tmp_path / f"camus/{name}/Info_{view}.cfg").write_text(text)
    return tmp_path


def test_half_sequences_run_from_end_diastole_and_have_the_patients_ejection_fraction(camus):
    target = TargetSettings(name="EF", unit="%", range=(0.0, 100.0))
    settings = IndexSettings(task="regression", target=target, classes=[], sources=[CamusSource(views=["4CH"])])
    table = build_index(settings, camus, 0)
    assert table["label"].tolist() == [60, 25] and table["patient_id"].tolist() == [
        "camus-patient0001",
        "camus-patient0002",
    ]
    first, second = (read_row(row, settings, camus, 100, 0) for row in table.to_dict("records"))
    assert np.array_equal(first.frames, speckle(6, seed=1)[1:6]) and first.fps == pytest.approx(51.1)
    assert np.array_equal(second.frames, speckle(6, seed=2)[::-1])
    spans = {"reduced": (0.0, 40.0), "preserved": (40.0, 101.0)}
    classes = IndexSettings(classes=["reduced", "preserved"], sources=[CamusSource(spans=spans)])
    assert build_index(classes, camus, 0)["class_name"].tolist() == ["preserved"] * 2 + ["reduced"] * 2
    (camus / "camus/patient0001/Info_4CH.cfg").write_text("ED: 9\nES: 1\nEF: 60\n")
    with pytest.raises(UnreadableFile, match="ED 9 and ES 1 of 6 frames"):
        read_row(table.to_dict("records")[0], settings, camus, 100, 0)
    (camus / "camus/patient0001/Info_4CH.cfg").write_bytes(b"ED: 2\nEF: 60\nAge: 5\xe9\n")
    with pytest.raises(UnreadableFile, match="does not state ED and ES"):
        read_row(table.to_dict("records")[0], settings, camus, 100, 0)


def test_a_pair_is_a_clip_of_two_frames_and_a_still_shows_end_diastole_alone(tmp_path):
    rows = []
    for number in range(40):
        for view in ("2CH", "4CH"):
            for place, phase in enumerate(("ED", "ES")):
                path = tmp_path / f"camus-pairs/images/patient{number:04d}_{view}_{phase}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(speckle(2, seed=number)[place]).save(path)
            rows.append((f"patient{number:04d}", view, 0.2 if view == "2CH" else 0.4))
    table = pd.DataFrame(rows, columns=["patient_id", "view", "area_fraction_change"])
    table.to_csv(tmp_path / "camus-pairs/areas.csv", index=False)
    source = CamusSource(folder="camus-pairs", still_share=0.5)
    target = TargetSettings(name="area_fraction_change", range=(0.0, 1.0))
    settings = IndexSettings(task="regression", target=target, classes=[], sources=[source])
    index = build_index(settings, tmp_path, 0)
    assert len(index) == 80 and index["label"].to_numpy() == pytest.approx(0.3)  # the mean of both views
    assert 10 < index[index["kind"] == "image"]["patient_id"].nunique() < 30
    assert (index.groupby("patient_id")["kind"].nunique() == 1).all()
    moving = index[index["kind"] == "video"].iloc[0].to_dict() | {"excluded": None}
    preprocessing = PreprocessSettings(size=64, fps=3.0, clip_length=1, scene_cut_correlation=-1.0)
    done = prepare_file(moving, settings, preprocessing, tmp_path, 0)
    assert done.about["excluded"] is None and len(done.frames) == 2
    still = index[index["kind"] == "image"].iloc[0].to_dict() | {"excluded": None}
    assert len(prepare_file(still, settings, preprocessing, tmp_path, 0).frames) == 1


@pytest.fixture
def echonet(tmp_path):
    folder = tmp_path / "EchoNet-Dynamic"
    (folder / "Videos").mkdir(parents=True)
    for name in ("0XA", "0XB"):
        write_video(folder / f"Videos/{name}.avi", speckle(12), 50, "", None)
    listed = pd.DataFrame({"FileName": ["0XA", "0XB", "0XGONE"], "EF": [61.5, 33.0, 50.0], "Split": "TRAIN"})
    listed.to_csv(folder / "FileList.csv", index=False)
    lines = [
        ("0XA.avi", 30, 10, 30, 50, 7),
        ("0XA.avi", 20, 20, 40, 20, 7),
        ("0XA.avi", 20, 30, 40, 30, 7),
    ]  # the larger
    lines += [("0XA.avi", 30, 10, 30, 40, 2), ("0XA.avi", 25, 20, 35, 20, 2), ("0XA.avi", 25, 30, 35, 30, 2)]
    tracings = pd.DataFrame(lines, columns=["FileName", "X1", "Y1", "X2", "Y2", "Frame"])
    tracings.to_csv(folder / "VolumeTracings.csv", index=False)
    return tmp_path


def test_echonet_videos_begin_at_the_larger_traced_ventricle(echonet):
    target = TargetSettings(name="EF", unit="%", range=(0.0, 100.0))
    settings = IndexSettings(task="regression", target=target, classes=[], sources=[EchonetDynamicSource()])
    table = build_index(settings, echonet, 0).sort_values("label")
    assert table["label"].tolist() == [33, 61.5] and table["patient_id"].is_unique
    untraced, traced = (read_row(row, settings, echonet, 100, 0) for row in table.to_dict("records"))
    assert len(traced.frames) == 5 and traced.times[0] == 0 and traced.fps == pytest.approx(50)
    assert len(untraced.frames) == 12 and "no tracing: starts at frame 0" in untraced.notes
    spans = {"reduced": (0.0, 40.0), "preserved": (40.0, 101.0)}
    binary = IndexSettings(classes=["reduced", "preserved"], sources=[EchonetDynamicSource(spans=spans)])
    assert sorted(build_index(binary, echonet, 0)["class_name"]) == ["preserved", "reduced"]
    (echonet / "EchoNet-Dynamic/FileList.csv").write_text("FileName,EF\n0XA,high\n")
    with pytest.raises(LddmError, match="row 2, EF: 'high' is not a number"):
        build_index(settings, echonet, 0)


@pytest.fixture
def blues(tmp_path):
    folder = tmp_path / "blues"
    (folder / "lus_videos").mkdir(parents=True)
    for name in ("patient_7_L1", "patient_7_R2_2", "patient_12_L1", "patient_12_L2", "other"):
        (folder / f"lus_videos/{name}.mp4").write_bytes(b"no video")
    (folder / "severity.csv").write_text(
        "video_file,Severity Score,B-lines\npatient_7_L1,0.0,no \npatient_7_R2_2,1.0,Yes\npatient_12_L1,3.0,yes\n"
    )
    (folder / "clinical_variables.csv").write_text("patient_id,pulse\n7,85.0\n12,-99\n")
    return tmp_path


def test_blues_classes_are_values_of_a_column_and_targets_may_be_of_patients(blues):
    table = build_index(IndexSettings(classes=["healthy", "severe"], sources=[BluesSource()]), blues, 0).set_index(
        "path"
    )
    found = table["excluded"].rename(lambda path: Path(path).stem)
    assert found[["patient_7_L1", "patient_12_L1"]].isna().all()
    assert (
        found["patient_7_R2_2"] == "class '1' is not in index.classes"
        and found["patient_12_L2"] == "no row in the table"
    )
    assert "does not match" in found["other"] and set(table["licence"]) == {"CC BY-NC-ND 4.0", "unknown"}
    lines = BluesSource(column="B-lines", task={"without": ["no"], "with": ["yes"]})
    classes = build_index(IndexSettings(classes=["without", "with"], sources=[lines]), blues, 0)["class_name"]
    assert classes.value_counts().to_dict() == {"with": 2, "without": 1, "": 2}
    pulse = TargetSettings(name="pulse", unit="1/min", range=(20.0, 220.0))
    settings = IndexSettings(task="regression", target=pulse, classes=[], sources=[BluesSource()])
    targets = build_index(settings, blues, 0)
    assert targets["label"].dropna().tolist() == [85.0, 85.0]
    assert targets["excluded"].str.startswith("no pulse").sum() == 2


@pytest.mark.skipif(not (SHARED / "camus-pairs").is_dir(), reason=f"no camus-pairs below {SHARED} (LDDM_TEST_DATA)")
def test_real_pairs_of_camus_have_the_area_fraction_change_of_their_patient():
    target = TargetSettings(name="area_fraction_change", range=(0.0, 0.8))
    source = CamusSource(folder="camus-pairs")
    settings = IndexSettings(task="regression", target=target, classes=[], sources=[source])
    table = build_index(settings, SHARED, 0)
    assert len(table) == 800 and table["patient_id"].nunique() == 400 and table["excluded"].isna().all()
    assert 0.2 < (table.drop_duplicates("patient_id")["label"] < 0.3).mean() < 0.3
    assert read_row(table.iloc[0].to_dict(), settings, SHARED, 100, 0).frames.shape == (2, 224, 224)
