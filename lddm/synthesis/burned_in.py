"""Detection of text burned into the tissue of a still, which must not move with the tissue."""

from __future__ import annotations

import cv2
import numpy as np

STROKE = 1 / 64  # relative to the shorter side: half the largest stroke width, and the smallest letter height
LETTER = 1 / 12  # relative to the shorter side: largest letter height
BRIGHT, CONTRAST = 150, 80  # grey levels: smallest value of strokes, and smallest contrast to their surroundings
SURROUNDINGS = 0.45  # largest brightness around a letter, relative to the letter
LETTERS = 3  # smallest number of letters on one line; fewer may be bright speckle

Box = tuple[int, int, int, int]  # left, top, width, height


def burned_in_words(image: np.ndarray) -> np.ndarray:
    """Mask of words burned into a still, with a margin.

    A word is a row of at least three small bright shapes of equal height on one line, each surrounded by dark pixels. Bright
    speckle is rarely so regular: 20 of 238 breast and lung images contained such rows, and all of these were words. Single
    letters, callipers and dotted lines are not detected.

    Args:
        image: uint8 (H, W).

    Returns:
        bool (H, W).
    """
    side = min(image.shape)
    radius = max(2, round(side * STROKE))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    raised = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, disc)
    strokes = (raised > CONTRAST) & (image > BRIGHT)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(strokes.astype(np.uint8), connectivity=8)
    boxes = {
        label: (left, top, width, height) for label, (left, top, width, height, _) in enumerate(stats.tolist()) if label
    }
    letters = {
        label: box
        for label, box in boxes.items()
        if box[3] >= max(4, side * STROKE) and max(box[2:]) <= side * LETTER and _stands_out(image, labels, label, box)
    }
    words = np.zeros(image.shape, np.uint8)
    for word in _words(letters):
        line = _line(list(boxes.values()), [letters[label] for label in word])
        left, top = min(box[0] for box in line), min(box[1] for box in line)
        right, bottom = max(box[0] + box[2] for box in line), max(box[1] + box[3] for box in line)
        place = np.s_[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1]
        words[place] |= raised[place] > CONTRAST / 3  # thin strokes are dimmer
    margin = 2 * (radius // 4 + 1) + 1  # letters have antialiased edges
    return cv2.dilate(words, np.ones((margin, margin))) > 0


def _stands_out(image: np.ndarray, labels: np.ndarray, label: int, box: Box) -> bool:
    """Whether the pixels at a distance of two from a shape, excluding other shapes, are much darker than the shape."""
    left, top, width, height = box
    window = np.s_[max(0, top - 3) : top + height + 3, max(0, left - 3) : left + width + 3]
    shape, strokes = labels[window] == label, (labels[window] > 0).astype(np.uint8)
    around = cv2.dilate(shape.astype(np.uint8), np.ones((5, 5))) > cv2.dilate(strokes, np.ones((3, 3)))
    return bool(around.any() and image[window][around].mean() < SURROUNDINGS * np.percentile(image[window][shape], 75))


def _words(letters: dict[int, Box]) -> list[list[int]]:
    """Rows of at least `LETTERS` letters of equal height on a common baseline, with gaps no wider than their height."""
    order = sorted(letters, key=lambda label: letters[label])
    words = []
    for number, first in enumerate(order):
        left, top, width, height = letters[first]
        word, end, loose = [first], left + width, max(1, 0.2 * height)
        for label in order[number + 1 :]:
            x, y, w, h = letters[label]
            if abs(h - height) <= loose and abs(y + h - top - height) <= loose and -1 <= x - end <= height:
                word.append(label)
                end = x + w
        if len(word) >= LETTERS:
            words.append(word)
    return words


def _line(shapes: list[Box], word: list[Box]) -> list[Box]:
    """Further shapes in the row of a word, with gaps up to twice its height: touching letters, hyphens, other words."""
    height, top = max(box[3] for box in word), min(box[1] for box in word)
    row = [box for box in shapes if box[1] >= top - 0.6 * height and box[1] + box[3] <= top + 1.4 * height]
    left, right = word[0][0], word[-1][0] + word[-1][2]
    for x, _, width, _ in sorted(row):
        if left <= x <= right + 2 * height:
            right = max(right, x + width)
    for x, _, width, _ in sorted(row, key=lambda box: -(box[0] + box[2])):
        if left - 2 * height <= x + width <= right:
            left = min(left, x)
    return [box for box in row if left <= box[0] and box[0] + box[2] <= right]
