"""Search for candidate duplicates: pairs of files in which a frame of one resembles a frame of the other.

Each frame is compared only with frames of the same neighbourhoods (inverted file, Jegou et al., IEEE TPAMI
33(1):117-128, 2011), so that the cost grows little faster than the number of frames. Up to `EXACT` frames there is one
neighbourhood and the search is exhaustive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lddm.data.fingerprints import COARSE, CROPS, descriptors

EXACT = 5000  # number of frames up to which the search is exhaustive
CELL = 1000  # mean number of frames per neighbourhood
PROBES = 3  # neighbourhoods searched for each frame
QUERY_STEP = 3  # every third frame of a long video is a query against all frames of the other files
SHORT = 12  # number of distinct frames up to which all frames of a file are queries
ALIKE = 0.7  # minimum correlation of descriptors for an alignment
NEAREST = 8  # frames of other files kept for each frame, view and neighbourhood
PARTNERS = 24  # most similar files kept for each file
BLOCK = 4096


@dataclass(frozen=True)
class Candidate:
    """A frame of one file that resembles a frame of another.

    Attributes:
        query: file whose frame, cropped and possibly mirrored, resembles that of `match`.
        match: the other file.
        query_frame: index in `query`.
        match_frame: index in `match`.
        crop: share of height and width removed from the query.
        mirrored: the query was mirrored.
    """

    query: int
    match: int
    query_frame: int
    match_frame: int
    crop: float
    mirrored: bool


def candidates(thumbnails: list[np.ndarray], distinct: list[np.ndarray]) -> list[Candidate]:
    """The best candidate of each ordered pair of files, sorted by (query, match).

    Args:
        thumbnails: for each file uint8 (T, 32, 32).
        distinct: for each file the indices of the frames to compare.
    """
    counts = [len(frames) for frames in distinct]
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    if len(set(owner.tolist())) < 2:
        return []
    frame = np.concatenate(distinct).astype(np.int32)
    stored = _blocks(thumbnails, owner, frame, 0.0).astype(np.float16)
    pivots = stored[::CELL] if len(stored) > EXACT else stored[:1]
    pivots = pivots.reshape(len(pivots), -1).astype(np.float32)
    cell = _nearest_pivots(stored, pivots, 1)[:, 0]
    order = np.argsort(cell, kind="stable")
    edges = np.searchsorted(cell[order], np.arange(len(pivots) + 1))

    place = np.concatenate([np.arange(count) for count in counts])
    asked = np.flatnonzero((place % QUERY_STEP == 0) | (np.array(counts)[owner] <= SHORT))
    found = []
    for crop in CROPS:
        if crop:
            views = _blocks(thumbnails, owner[asked], frame[asked], crop).astype(np.float16)
        else:
            views = stored[asked]
        for mirrored in (False, True):
            turned = views[:, :, ::-1] if mirrored else views
            hits = _search(turned, owner[asked], stored, owner, pivots, order, edges)
            view = np.full(len(hits), CROPS.index(crop) * 2 + mirrored)
            found.append(np.column_stack([asked[hits[:, 0].astype(int)], hits[:, 1:], view]))
    return _best(np.concatenate(found), owner, frame)


def _blocks(thumbnails: list[np.ndarray], owner: np.ndarray, frame: np.ndarray, crop: float) -> np.ndarray:
    """Descriptors float16 (n, 12, 12) of selected frames."""
    out = np.empty((len(owner), COARSE, COARSE), np.float16)
    for start in range(0, len(owner), BLOCK):
        chosen = slice(start, start + BLOCK)
        images = [thumbnails[o][f] for o, f in zip(owner[chosen], frame[chosen], strict=True)]
        out[chosen] = descriptors(np.stack(images), crop)
    return out


def _nearest_pivots(views: np.ndarray, pivots: np.ndarray, count: int) -> np.ndarray:
    """Indices int32 (n, count) of the nearest neighbourhoods of each frame."""
    out = np.empty((len(views), count), np.int32)
    for start in range(0, len(views), BLOCK):
        block = views[start : start + BLOCK].reshape(-1, COARSE * COARSE).astype(np.float32)
        likeness = block @ pivots.T
        out[start : start + BLOCK] = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    return out


def _search(
    views: np.ndarray,
    view_owner: np.ndarray,
    stored: np.ndarray,
    owner: np.ndarray,
    pivots: np.ndarray,
    order: np.ndarray,
    edges: np.ndarray,
) -> np.ndarray:
    """Nearest stored frames of other files for each view: rows (view, stored frame, correlation)."""
    probes = _nearest_pivots(views, pivots, min(PROBES, len(pivots)))
    by_cell = np.argsort(probes.ravel(), kind="stable")
    starts = np.searchsorted(probes.ravel()[by_cell], np.arange(len(pivots) + 1))
    found = [np.zeros((0, 3), np.float32)]
    for cell in range(len(pivots)):
        members = order[edges[cell] : edges[cell + 1]]
        if len(members) == 0:
            continue
        target = stored[members].reshape(len(members), -1).astype(np.float32).T
        asking = by_cell[starts[cell] : starts[cell + 1]] // probes.shape[1]
        step = max(1, 8_000_000 // len(members))
        for start in range(0, len(asking), step):
            block = asking[start : start + step]
            likeness = views[block].reshape(len(block), -1).astype(np.float32) @ target
            likeness[view_owner[block][:, None] == owner[members]] = -1
            promising = np.flatnonzero(likeness.max(axis=1) >= ALIKE)
            if len(promising) == 0:
                continue
            likeness = likeness[promising]
            count = min(NEAREST, likeness.shape[1])
            nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
            values = np.take_along_axis(likeness, nearest, axis=1)
            row, column = np.nonzero(values >= ALIKE)
            hit = np.column_stack([block[promising[row]], members[nearest[row, column]], values[row, column]])
            found.append(hit.astype(np.float64))
    return np.concatenate(found)


def _best(hits: np.ndarray, owner: np.ndarray, frame: np.ndarray) -> list[Candidate]:
    """The best hit of each pair of files, limited to the `PARTNERS` best pairs of each file."""
    asked, match, view = (hits[:, k].astype(np.int64) for k in (0, 1, 3))
    query_file, match_file = owner[asked], owner[match]
    order = np.lexsort((view, match, asked, -hits[:, 2], match_file, query_file))
    pairs = np.column_stack([query_file, match_file])[order]
    first = np.ones(len(order), bool)
    first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    order = order[first]
    ranked = order[np.lexsort((match_file[order], -hits[order, 2], query_file[order]))]
    start = np.searchsorted(query_file[ranked], query_file[ranked])
    kept = ranked[np.arange(len(ranked)) - start < PARTNERS]
    kept = kept[np.lexsort((match_file[kept], query_file[kept]))]
    return [
        Candidate(
            int(query_file[k]),
            int(match_file[k]),
            int(frame[asked[k]]),
            int(frame[match[k]]),
            CROPS[view[k] // 2],
            bool(view[k] % 2),
        )
        for k in kept
    ]
