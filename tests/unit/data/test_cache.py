"""Arrays that several jobs want at once: each part is computed once, by whoever comes first."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lddm.classification.networks import strain_input
from lddm.data.cache import ArrayCache

CLIPS = np.random.default_rng(0).integers(0, 255, (7, 5, 24, 24), dtype=np.uint8)


def test_jobs_divide_the_clips_between_them(tmp_path):
    """With one lock for the whole set the second job would wait with its core, and the barrier would break."""
    both, computed = threading.Barrier(2, timeout=20), []

    def compute(clips):
        computed.append(len(clips))
        if len(computed) <= 2:  # the first part of each job: they are at work at the same time
            both.wait()
        return clips.mean(axis=(1, 2, 3))

    with ThreadPoolExecutor(2) as jobs:
        found = list(jobs.map(lambda _: ArrayCache(tmp_path).get_in_parts("c", CLIPS, compute, 2), range(2)))
    assert all(np.array_equal(one, CLIPS.mean(axis=(1, 2, 3))) for one in found)
    assert sorted(computed) == [1, 2, 2, 2] and len(list(tmp_path.glob("*.npy"))) == 4


def test_parts_give_the_bytes_of_the_whole(tmp_path):
    whole = strain_input(CLIPS)
    assert np.array_equal(ArrayCache(tmp_path).get_in_parts("c", CLIPS, strain_input, 3), whole)
    again = ArrayCache(tmp_path).get_in_parts("c", CLIPS, lambda clips: 1 / 0, 3)  # all are there
    assert np.array_equal(again, whole)
    assert np.array_equal(ArrayCache().get_in_parts("c", CLIPS, strain_input), whole)
