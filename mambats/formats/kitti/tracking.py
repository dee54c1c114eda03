"""KITTI's tracking benchmark, table by table: labels, results, detections in space and in the picture, at 10 Hz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.kitti.boxes import (
    CLASSES,
    FRAME,
    POINTRCNN,
    RRC,
    TRACKING,
    check_boxes,
    count_frames,
    in_order,
    merged,
    to_stream,
)
from mambats.formats.kitti.rows import Rows, TextLayout, read_rows
from mambats.formats.repair import REFUSE, Policy
from mambats.series import RaggedStream


def read_tracks(path: Path | str, frames: int | None = None, policy: Policy = REFUSE) -> RaggedStream:
    """Read labels (`label_02`) or results of one sequence.

    Args:
        path: Text file: frame, track, class, truncated, occluded, alpha, four pixels, h w l, x y z, yaw [, score].
        frames: Number of frames of the sequence, or None for as many as have rows.
        policy: `clock='repair'` sorts frames out of order, `torn='repair'` leaves out a last line cut off.

    Returns:
        Channels as in the file without the frame, in `camera_rect`; `class` has labels; DontCare rows are kept (track
        -1, no size). One stamp a frame at 10 Hz from 0.

    Raises:
        DataError: If a line cannot be used; names file and line.
    """
    return _stream([track_rows(Path(path), policy)], frames, CLASSES, FRAME)


def read_detections(
    paths: Path | str | Sequence[Path | str], frames: int | None = None, policy: Policy = REFUSE
) -> RaggedStream:
    """Read detections of boxes in space (PointRCNN's files as AB3DMOT hands them out), of several classes together.

    Args:
        paths: Text files, comma separated: frame, type (1 Pedestrian, 2 Car, 3 Cyclist), four pixels, score, h w l,
            x y z, yaw, alpha. Their rows are merged by frame.
        frames: Number of frames of the sequence, or None for as many as have rows.
        policy: As for `read_tracks`.

    Returns:
        Channels as in the files without the frame, in `camera_rect`; `score` is a logit, not a probability.

    Raises:
        DataError: If a line cannot be used; names file and line.
    """
    several = [paths] if isinstance(paths, Path | str) else list(paths)
    return _stream([detection_rows(Path(path), policy) for path in several], frames, POINTRCNN.classes, FRAME)


def read_detections_2d(
    paths: Mapping[str, Path | str], frames: int | None = None, policy: Policy = REFUSE
) -> RaggedStream:
    """Read detections of boxes in the picture of camera 2 (RRC's files), of several classes together.

    Args:
        paths: By class (`Car`, `Pedestrian`) a text file, comma separated: frame, left, top, right, bottom, score.
        frames: Number of frames of the sequence, or None for as many as have rows.
        policy: As for `read_tracks`.

    Returns:
        Channels left, top, right, bottom [px], score (0 to 1), class.

    Raises:
        DataError: If a line cannot be used or a class is unknown; names file and line.
    """
    tables = [picture_rows(Path(path), name, policy) for name, path in paths.items()]
    return _stream(tables, frames, CLASSES, "camera_2")


def track_rows(path: Path, policy: Policy = REFUSE) -> Rows:
    """Read labels or results as a checked table in order of frames."""
    return _table(path, TRACKING, policy)


def detection_rows(path: Path, policy: Policy = REFUSE) -> Rows:
    """Read detections in space as a checked table in order of frames."""
    return _table(path, POINTRCNN, policy)


def picture_rows(path: Path, name: str, policy: Policy = REFUSE) -> Rows:
    """Read detections in the picture of one class as a checked table in order of frames, with a column `class`."""
    if name not in CLASSES:
        raise DataError(f"{path}: is said to hold the class {name!r}, known are {', '.join(CLASSES)}.")
    rows = _table(path, RRC, policy)
    code = np.full((len(rows.values), 1), float(CLASSES.index(name)))
    return Rows(rows.path, (*rows.columns, "class"), np.hstack([rows.values, code]), rows.lines, rows.repairs)


def _table(path: Path, layout: TextLayout, policy: Policy) -> Rows:
    rows = read_rows(path, layout, policy)
    check_boxes(rows, layout.classes)
    return in_order(rows, policy)


def _stream(tables: Sequence[Rows], frames: int | None, classes: tuple[str, ...], frame: str) -> RaggedStream:
    if not tables:
        raise DataError("no file was given: give one at least.")
    return to_stream(*merged(tables), count_frames(tables, frames), frame, classes)
