"""Near-duplicates: files that show the same frames, found by perceptual hashes.

Two recordings of one patient cut from one video, or one image saved twice, must not stand on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

GRID = 16  # 16 x 16 signs of differences = 256 bits
FLAT = 6.0  # standard deviation of grey levels below which a frame says too little to be compared


def frame_hash(frame: np.ndarray) -> np.ndarray | None:
    """Difference hash of a frame: uint8 (32,) = 256 bits, or None for a flat frame.

    Signs of horizontal differences after shrinking (Krawetz's dHash): brightness and contrast do not matter.
    """
    small = cv2.resize(frame, (GRID + 1, GRID), interpolation=cv2.INTER_AREA).astype(np.int16)
    if small.std() < FLAT:
        return None
    return np.packbits(small[:, 1:] > small[:, :-1])


def video_hashes(frames: np.ndarray, most: int = 64) -> np.ndarray:
    """Hashes uint8 (k, 32) of up to `most` frames, evenly spread; uint8 (T, H, W) in."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    hashes = [value for value in (frame_hash(frames[i]) for i in chosen) if value is not None]
    return np.stack(hashes) if hashes else np.zeros((0, 2 * GRID), np.uint8)


def find_duplicates(hashes: list[np.ndarray], distance: int) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of files that share a frame up to `distance` differing bits.

    Args:
        hashes: for each file uint8 (k, 32).
        distance: Hamming distance.
    """
    owner = np.repeat(np.arange(len(hashes)), [len(h) for h in hashes])
    if len(owner) == 0:
        return []
    bits = np.unpackbits(np.concatenate(hashes), axis=1).astype(np.float32)
    ones = bits.sum(axis=1)
    pairs: set[tuple[int, int]] = set()
    for start in range(0, len(bits), 512):  # blocks: memory stays bounded
        block = slice(start, start + 512)
        differing = ones[block, None] + ones - 2 * bits[block] @ bits.T
        near = np.argwhere(differing <= distance + 0.5)
        first, second = owner[near[:, 0] + start], owner[near[:, 1]]
        pairs.update(zip(first[first < second].tolist(), second[first < second].tolist(), strict=True))
    return sorted(pairs)


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Connected components of `count` nodes: lists of members, by first member."""
    edges = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for node, number in enumerate(component.tolist()):
        groups.setdefault(number, []).append(node)
    return sorted(groups.values(), key=lambda members: members[0])


def cluster_duplicates(table: pd.DataFrame, hashes: list[np.ndarray], distance: int) -> pd.DataFrame:
    """Set `cluster` of files that share frames; exclude clusters whose labels contradict each other.

    Clusters that a source already found are kept and joined. Simulated files are left alone: they share nothing.

    Args:
        table: rows with cluster, label, source, excluded; the same order as `hashes`.
    """
    table = table.copy()
    real = (table["source"] != "phantom").to_numpy() & table["excluded"].isna().to_numpy()
    pairs = find_duplicates([h if r else h[:0] for h, r in zip(hashes, real, strict=True)], distance)
    known = table.index[table["cluster"].notna()]
    for _, members in table.loc[known].groupby("cluster"):
        places = [table.index.get_loc(i) for i in members.index]
        pairs += [(places[0], other) for other in places[1:]]
    for number, members in enumerate(connected(len(table), pairs)):
        if len(members) < 2:
            continue
        rows = table.index[members]
        table.loc[rows, "cluster"] = f"cluster-{number:04d}"
        usable = rows[table.loc[rows, "excluded"].isna()]
        if table.loc[usable, "label"].nunique() > 1:
            table.loc[usable, "excluded"] = "shares frames with a file of another class"
    return table
