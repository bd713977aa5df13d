"""Near-duplicates: files that show frames of one recording.

Two excerpts of one recording, or two copies of an image, must not fall on different sides of a split. Copies may be
mirrored, cropped by a few per cent, brightened, recompressed or played at another rate. Candidates
(lddm.data.duplicate_search) are aligned and compared frame by frame.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lddm.data.duplicate_search import Candidate, candidates
from lddm.data.fingerprints import SIDE, align, crop_warp, distinct_frames, unit_details, video_hashes, warped

__all__ = ["cluster_duplicates", "connected", "find_duplicates", "video_hashes"]

# Correlations of aligned details. ASSUME, from measurements (docs/data.md): neighbouring frames of different patients
# stay below 0.6 for most pairs, copies with noise, gain and crops reach 0.8.
SAME_FRAME = 0.8  # for a video, of which several frames must match
SAME_IMAGE = 0.85  # for a still image, which has one frame only
OVERLAP = 0.6  # minimum share of matching frames in the common time span of two aligned files
IN_TIME = 1.5  # maximum distance of a matching frame from the common time axis, in frames
COMMON = 3  # maximum number of other files that show a frame which is not a title card


@dataclass(frozen=True)
class Match:
    """Shared frames of two files: frame `frames[k]` of `first` matches frame `partners[k]` of `second`.

    A frame has several partners if the content repeats; `best[k]` marks the most similar one.
    """

    first: int
    second: int
    frames: np.ndarray
    partners: np.ndarray
    best: np.ndarray

    def only(self, kept: np.ndarray) -> Match:
        """A subset of the matching frames."""
        return Match(self.first, self.second, self.frames[kept], self.partners[kept], self.best[kept])


def find_duplicates(hashes: list[np.ndarray], frames: int = 4) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of files that show frames of one recording.

    Two files are duplicates if at least `frames` distinct frames (all of them in files with fewer) match after alignment,
    and if most of the frames in their common time span match. Frames shown by many files with other content, such as title
    cards, are not counted.

    Args:
        hashes: for each file uint8 (T, 32, 32), from `video_hashes`.
        frames: distinct frames that two videos must share.
    """
    thumbnails = [np.reshape(h, (-1, SIDE, SIDE)) for h in hashes]
    distinct = [distinct_frames(images) for images in thumbnails]
    accepted: list[Match] = []
    rejected: list[Match] = []
    for candidate in candidates(thumbnails, distinct):
        match = compare(candidate, thumbnails, distinct)
        if match is not None:
            agrees = _is_duplicate(match, distinct[match.first], distinct[match.second], frames)
            (accepted if agrees else rejected).append(match)
    common = _title_cards(accepted, rejected)
    pairs = set()
    for match in accepted:
        first = np.setdiff1d(distinct[match.first], sorted(common[match.first]))
        second = np.setdiff1d(distinct[match.second], sorted(common[match.second]))
        own = np.isin(match.frames, first) & np.isin(match.partners, second)
        if _is_duplicate(match.only(own), first, second, frames):
            pairs.add((min(match.first, match.second), max(match.first, match.second)))
    return sorted(pairs)


def compare(candidate: Candidate, thumbnails: list[np.ndarray], distinct: list[np.ndarray]) -> Match | None:
    """Matching frames of two files after alignment, or None."""
    query, reference = thumbnails[candidate.query], thumbnails[candidate.match]
    if candidate.mirrored:
        query = query[:, :, ::-1]
    image = np.ascontiguousarray(query[candidate.query_frame])
    warp = align(reference[candidate.match_frame], image, crop_warp(candidate.crop))
    if warp is None:
        return None
    still = min(len(distinct[candidate.query]), len(distinct[candidate.match])) == 1
    threshold = SAME_IMAGE if still else SAME_FRAME
    there = unit_details(reference[candidate.match_frame][None])
    if (unit_details(warped(image[None], warp)) @ there.T).item() < threshold:
        return None
    rows, columns = distinct[candidate.query], distinct[candidate.match]
    moved = warped(np.ascontiguousarray(query[rows]), warp)
    correlation = unit_details(moved) @ unit_details(reference[columns]).T
    row, column = np.nonzero(correlation >= threshold)
    best = correlation.argmax(axis=1)[row] == column
    return Match(candidate.query, candidate.match, rows[row], columns[column], best)


def _is_duplicate(match: Match, first: np.ndarray, second: np.ndarray, frames: int) -> bool:
    """Whether a match has enough frames, over most of the common time span.

    Args:
        match: the matching frames.
        first: distinct frames of the first file.
        second: distinct frames of the second file.
        frames: distinct frames that two videos must share.
    """
    needed = min(frames, len(first), len(second))
    if needed == 0 or _distinct(match) < needed:
        return False
    for slope, intercept in _time_axes(match):
        inliers = _distinct(match.only(np.abs(slope * match.frames + intercept - match.partners) <= IN_TIME))
        there, back = slope * first + intercept, (second - intercept) / slope
        overlap = min(
            ((there >= second[0] - 1) & (there <= second[-1] + 1)).sum(),
            ((back >= first[0] - 1) & (back <= first[-1] + 1)).sum(),
        )
        if inliers >= max(needed, OVERLAP * overlap):
            return True
    return False


def _distinct(match: Match) -> int:
    return min(len(np.unique(match.frames)), len(np.unique(match.partners)))


def _time_axes(match: Match) -> Iterator[tuple[float, float]]:
    """Possible common time axes (slope, intercept): partner = slope * frame + intercept.

    First equal speed, forwards and backwards, by a vote of all matches; then any speed, by a robust Theil-Sen line through
    the best matches.
    """
    for slope in (1.0, -1.0):
        shifts, votes = np.unique(match.partners - slope * match.frames, return_counts=True)
        near = (np.abs(shifts[:, None] - shifts) <= 1) @ votes
        yield slope, float(shifts[near.argmax()])
    frames, partners = match.frames[match.best], match.partners[match.best]
    if len(np.unique(frames)) > 1:
        from scipy.stats import theilslopes  # here: it takes half a second to import, and few matches need it

        slope, intercept, *_ = theilslopes(partners, frames)
        if slope != 0:
            yield float(slope), float(intercept)


def _title_cards(accepted: list[Match], rejected: list[Match]) -> dict[int, set[int]]:
    """Frames of each file that more than `COMMON` other files show, at least two of them with other content.

    One such file is not enough: it may be an unrecognised copy of poor quality.
    """
    shown: dict[tuple[int, int], tuple[set[int], set[int]]] = defaultdict(lambda: (set(), set()))
    for different, matches in enumerate((accepted, rejected)):
        for match in matches:
            for frame in match.frames.tolist():
                shown[match.first, frame][different].add(match.second)
            for frame in match.partners.tolist():
                shown[match.second, frame][different].add(match.first)
    cards: dict[int, set[int]] = defaultdict(set)
    for (file, frame), (same, other) in shown.items():
        if len(other - same) >= 2 and len(other | same) > COMMON:
            cards[file].add(frame)
    return cards


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Connected components of `count` nodes: lists of members, sorted by first member."""
    edges = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for node, number in enumerate(component.tolist()):
        groups.setdefault(number, []).append(node)
    return sorted(groups.values(), key=lambda members: members[0])


def cluster_duplicates(table: pd.DataFrame, hashes: list[np.ndarray], frames: int = 4) -> pd.DataFrame:
    """Set `cluster` of files that share frames; exclude clusters with contradictory labels.

    Clusters found by a source are kept and merged. Simulated files are skipped because they share no frames.

    Args:
        table: rows with cluster, label, source, excluded; the same order as `hashes`.
    """
    table = table.copy()
    real = (table["source"] != "phantom").to_numpy() & table["excluded"].isna().to_numpy()
    pairs = find_duplicates([h if r else h[:0] for h, r in zip(hashes, real, strict=True)], frames)
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
            other = "target" if table["label"].dtype.kind == "f" else "class"
            table.loc[usable, "excluded"] = f"shares frames with a file of another {other}"
    return table
