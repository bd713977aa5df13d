"""scikit-video works with the installed numpy, which is not patched."""

import numpy as np
import pytest

from lddm.metrics.scikit_video import imresize, skvideo


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(0).integers(0, 255, (12, 208, 224), dtype=np.uint8)


def test_numpy_keeps_its_own_names(clip):
    assert np.bool is not bool and np.bool_ is np.bool
    assert not hasattr(np, "float") and not hasattr(np, "int") and not hasattr(np, "product")
    assert np.ma.masked_invalid([1.0, np.nan]).mask.tolist() == [False, True]  # breaks if np.bool is overwritten


def test_functions_that_fail_without_the_module_work(clip):
    assert skvideo.measure.brisque_features(clip[:1]).shape == (1, 36)
    assert np.isfinite(skvideo.measure.niqe(clip[:1])).all()
    assert skvideo.measure.msssim(clip[:1], clip[:1])[0] == pytest.approx(1)
    assert np.isfinite(skvideo.measure.viideo_score(clip[:, :80, :80]))
    assert abs(skvideo.measure.strred(clip[:4, :80, :80], clip[:4, :80, :80])[1]) < 1e-3
    vectors = skvideo.motion.blockMotion(clip[:2, :64, :64])
    assert vectors.dtype == np.int64 and 2 * vectors.max() + 128 > 0  # int8 would overflow here
    assert skvideo.measure.videobliinds_features(clip[:12, :200, :200]).shape == (46,)


def test_strred_with_eigenvalues_that_are_complex_by_type(clip, monkeypatch):
    """numpy 2.5 gives complex arrays also where all eigenvalues are real."""
    expected = skvideo.measure.strred(clip[:4, :80, :80], clip[4:8, :80, :80])[1]
    eig = np.linalg.eig
    monkeypatch.setattr(np.linalg, "eig", lambda m: tuple(part.astype(np.complex64) for part in eig(m)))
    assert skvideo.measure.strred(clip[:4, :80, :80], clip[4:8, :80, :80])[1] == pytest.approx(expected)


def test_frames_handed_to_ffmpeg_have_tostring(clip):
    prepared = skvideo.io.FFmpegWriter._prepareData(object(), clip)
    assert prepared.tostring() == clip.tobytes()


def test_imresize_matches_the_former_scipy_function():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert imresize(image, 0.5, interp="bicubic", mode="F").shape == (4, 4)
    assert imresize(image, 200).shape == (16, 16) and imresize(image, (3, 5)).shape == (3, 5)
    with pytest.raises(ValueError, match="grey"):
        imresize(np.zeros((4, 4, 3)), 0.5)
