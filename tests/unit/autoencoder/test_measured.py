"""Measured motion: once for all clips, in parallel, and refused where it does not suit the model."""

import dataclasses

import numpy as np
import pytest
import torch

from lddm.autoencoder.measured import MeasuredMotion, measure_store
from lddm.autoencoder.model import Autoencoder
from lddm.data.frames import fold_clips
from lddm.data.ranges import to_float
from lddm.errors import LddmError
from lddm.motion.field_of_view import field_of_view, view_of_spans
from lddm.motion.low_rank import measure_motion
from lddm.settings.models import AutoencoderSettings
from lddm.training.weights import save_weights

SETTINGS = AutoencoderSettings(width=4)


def test_every_clip_has_its_own_motion_in_both_directions(tiny_store, motion_of, tmp_path):
    store, splits = tiny_store
    motion_of(SETTINGS).save(tmp_path / "motion.safetensors")
    measured = MeasuredMotion.load(tmp_path / "motion.safetensors")
    for part in ("train", "test"):
        clips = fold_clips(store, splits, 0, part)
        frames = store.clip_frames(clips)
        for backward in (False, True):
            expected = measure_motion(frames[:, ::-1] if backward else frames, 2, 8)
            found = measured.of(clips, backward)
            assert torch.equal(found.maps, expected.maps) and torch.equal(found.coefficients, expected.coefficients)
            x0 = to_float(torch.from_numpy(frames[:, -1 if backward else 0].copy()))[:, None]
            for mirrored, spans in enumerate(measured.views_of(clips, backward).unbind(1)):
                assert torch.equal(view_of_spans(spans, 32), field_of_view(x0.flip(-1) if mirrored else x0))


def test_processes_do_not_change_the_result(tiny_store, monkeypatch):
    store, _ = tiny_store
    monkeypatch.setattr("lddm.autoencoder.measured.CHUNK", 4)
    one, two = (measure_store(SETTINGS, store, store.clips.iloc[:10], processes=count) for count in (1, 2))
    assert one.row == two.row and one.codes.keys() == two.codes.keys() == {"forward", "backward"}
    assert all(torch.equal(one.codes[name].maps, two.codes[name].maps) for name in one.codes)
    assert all(torch.equal(one.views[name], two.views[name]) for name in one.codes)


def test_what_was_measured_otherwise_or_not_at_all_is_refused(tiny_store, motion_of):
    store, splits = tiny_store
    model = Autoencoder(SETTINGS, store.size, store.clip_length)
    assert model.checked(motion_of(SETTINGS), store) is motion_of(SETTINGS)
    for measured, message in (
        (None, "needs the measured motion"),
        (motion_of(SETTINGS.model_copy(update={"motion_rank": 1})), "rank 1 instead of 2"),
    ):
        with pytest.raises(LddmError, match=message):
            model.checked(measured, store)
    clips = fold_clips(store, splits, 0, "train")
    forwards = measure_store(SETTINGS.model_copy(update={"time_reversal": False}), store, clips.iloc[:2])
    with pytest.raises(LddmError, match="clip .* was not measured"):
        forwards.of(clips)
    with pytest.raises(LddmError, match="time-reversed clips was not measured"):
        forwards.of(clips.iloc[:2], backward=True)


def test_clips_that_are_left_out_are_not_measured(tiny_store):
    store, _ = tiny_store
    left_out = store.clips.assign(excluded=np.where(np.arange(len(store.clips)) < 3, None, "too dark"))
    measured = measure_store(SETTINGS, dataclasses.replace(store, clips=left_out))
    assert list(measured.row) == store.clips["clip_id"].iloc[:3].tolist()


def test_motion_of_other_frames_or_of_other_code_is_refused(tiny_store, motion_of):
    store, _ = tiny_store
    model, measured = Autoencoder(SETTINGS, store.size, store.clip_length), motion_of(SETTINGS)
    upside_down = dataclasses.replace(store, frames=np.array(store.frames)[:, ::-1])
    with pytest.raises(LddmError, match="pixels"):
        model.checked(measured, upside_down)
    older = dataclasses.replace(measured, about=measured.about | {"code": "0"})
    assert model.checked(older, store) is older  # what goes with weights that were trained on it
    with pytest.raises(LddmError, match="code 0 instead of"):
        model.checked(older, store, current=True)
    by_another = dataclasses.replace(measured, about=measured.about | {"libraries": '{"cv2": "4.0"}'})
    assert model.checked(by_another, store) is by_another
    with pytest.raises(LddmError, match="libraries .*4.0.* instead of"):
        model.checked(by_another, store, current=True)
    forwards = dataclasses.replace(measured, codes={"forward": measured.codes["forward"]})
    with pytest.raises(LddmError, match="direction"):
        model.checked(forwards, store)


def test_no_clips_and_a_file_without_a_part_are_errors(tiny_store, motion_of, tmp_path):
    store, _ = tiny_store
    with pytest.raises(LddmError, match="no clip is usable"):
        measure_store(SETTINGS, dataclasses.replace(store, clips=store.clips.assign(excluded="dark")))
    save_weights(tmp_path / "m", {"forward.maps": torch.zeros(1)}, "motion", clip=["a"])
    with pytest.raises(LddmError, match="lacks 'forward.coefficients'"):
        MeasuredMotion.load(tmp_path / "m")
    with pytest.raises(LddmError, match="does not exist") as caught:
        MeasuredMotion.load(tmp_path / "none")
    assert "measure_motion" in caught.value.hint
