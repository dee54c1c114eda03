"""A frame of detections as one packet of fixed width: how many there are, then a row of numbers for each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mambats.streaming.engine import BoolArray, FloatArray

#: The stream of frames, and the numbers of a detection: a box, metres and rad, and its score.
DETECTIONS = "detections"
COLUMNS = ("x", "y", "z", "length", "width", "height", "yaw", "score")


class DetectionFrame(NamedTuple):
    """What was seen at one moment.

    Args:
        boxes: Shape (D, 7) float64.
        score: Shape (D,) float64; None where the detector gives none.
        row: Where each stands in the packet, shape (D,) int64.
        refused: Detections that the packet had no room for, or that are no boxes.
    """

    boxes: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64] | None
    row: npt.NDArray[np.int64]
    refused: int


def width_of(most: int) -> int:
    """Return how many numbers a packet has that holds at most so many detections."""
    return 1 + len(COLUMNS) * most


def room_of(width: int) -> int:
    """Return how many detections a packet of so many numbers holds: the inverse of `width_of`."""
    return (width - 1) // len(COLUMNS)


def pack_frame(boxes: npt.ArrayLike, score: npt.ArrayLike | None, most: int) -> FloatArray:
    """Return a packet: the number of detections, then their rows, zeros behind the last.

    Of more than `most` those of the highest scores go in, in their order; the number tells of all, so that whoever
    reads the packet counts the others.

    Args:
        boxes: Shape (D, 7), see `mambats.track.objects.BOX`.
        score: Shape (D,), or None.
        most: Detections that a packet has room for.

    Returns:
        Shape (1 + 8 * most,); scores that there are not are NaN.

    Raises:
        ValueError: If the shapes do not fit each other.
    """
    table = np.asarray(boxes, np.float64)
    scores = np.full(len(table), np.nan) if score is None else np.asarray(score, np.float64)
    if table.ndim != 2 or table.shape[1] != 7 or scores.shape != (len(table),):
        raise ValueError(f"boxes have shape {table.shape}, scores {scores.shape}: need (D, 7) and (D,).")
    kept = np.arange(len(table))
    if len(table) > most:
        kept = np.sort(np.argsort(-scores, kind="stable")[:most])
    packet = np.zeros(width_of(most), np.float32)
    packet[0] = len(table)
    rows = packet[1:].reshape(most, len(COLUMNS))
    rows[: len(kept), :7], rows[: len(kept), 7] = table[kept], scores[kept]
    return packet


def unpack_frame(values: FloatArray, observed: BoolArray) -> DetectionFrame | None:
    """Return the detections of a packet; None where it does not say how many there are.

    A row that lacks a number, or has a size below 0, is refused. Scores may lack all together: the detector gives none.

    Args:
        values: Shape (1 + 8 * most,).
        observed: Which were measured.
    """
    if not observed[0] or not 0 <= values[0] < 2**24:
        return None
    rows, there = values[1:].reshape(-1, len(COLUMNS)), observed[1:].reshape(-1, len(COLUMNS))
    told = int(values[0])
    count = min(told, len(rows))
    rows, there = rows[:count].astype(np.float64), there[:count]
    scored = bool(there[:, 7].any())
    whole = there[:, :7].all(1) & (rows[:, 3:6] >= 0).all(1) & (there[:, 7] | (not scored))
    kept = np.flatnonzero(whole)
    return DetectionFrame(rows[kept, :7], rows[kept, 7] if scored else None, kept, told - len(kept))
