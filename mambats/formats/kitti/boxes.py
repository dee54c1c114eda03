"""KITTI's boxes: columns, classes and checks that labels, detections and results share.

A box is as the benchmark defines it: h, w, l in metres, x, y, z of the middle of its bottom face in `camera_rect`
(x right, y down, z forward), yaw (rotation_y) in radians about y from the camera's x axis; left, top, right, bottom in
pixels of camera 2; alpha is the angle it is seen under.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.kitti.rows import Rows, TextLayout
from mambats.formats.repair import REFUSE, Policy
from mambats.series import RaggedStream

CLASSES = (
    "Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Person", "Cyclist", "Tram", "Misc", "DontCare",
)  # fmt: skip
PERIOD = 100_000_000  # ns: the benchmarks number frames at 10 Hz
#: A frame number beyond this (eleven days at 10 Hz) is a slip of the pen, and would cost a table of as many rows.
MOST_FRAMES = 10_000_000
FRAME = "camera_rect"

PIXELS = ("left", "top", "right", "bottom")
SOLID = ("h", "w", "l", "x", "y", "z", "yaw")
UNITS = {
    **dict.fromkeys(PIXELS, "px"),
    **dict.fromkeys(("h", "w", "l", "x", "y", "z"), "m"),
    **dict.fromkeys(("yaw", "alpha"), "rad"),
}

_SEEN = ("class", "truncated", "occluded", "alpha", *PIXELS, *SOLID, "score")
OBJECT = TextLayout(_SEEN, classes=CLASSES, optional=1)
TRACKING = TextLayout(("frame", "track", *_SEEN), classes=CLASSES, optional=1)
# Source: Weng et al., AB3DMOT (IROS 2020), its files of PointRCNN's detections: types are numbers.
POINTRCNN = TextLayout(
    ("frame", "class", *PIXELS, "score", *SOLID, "alpha"), ",", ("Pedestrian", "Car", "Cyclist"), ("1", "2", "3")
)
# Source: Wang et al., DeepFusionMOT (RA-L 2022), its files of RRC's detections: the folder names the class.
RRC = TextLayout(("frame", *PIXELS, "score"), ",")


def check_boxes(rows: Rows, classes: Sequence[str] = CLASSES) -> None:
    """Refuse boxes of no size and frames or tracks that are no whole numbers; DontCare has no size and passes.

    Raises:
        DataError: If there is one; names file and line.
    """
    for name, least in (("frame", 0), ("track", -1)):
        if name in rows.columns:
            _check_count(rows, name, least)
    ignored = np.zeros(len(rows.values), dtype=np.bool_)
    if "class" in rows.columns and "DontCare" in classes:
        ignored = rows.column("class") == classes.index("DontCare")
    if "h" in rows.columns:
        size = rows.part(("h", "w", "l"))
        rows.refuse(
            ~ignored & (size <= 0).any(1), lambda row: f"h w l are {size[row].tolist()} m, needed sizes above 0"
        )
    edges = rows.part(PIXELS)
    bad = (edges[:, 2] < edges[:, 0]) | (edges[:, 3] < edges[:, 1])
    rows.refuse(bad, lambda row: f"left top right bottom are {edges[row].tolist()} px: right or bottom come first")


def _check_count(rows: Rows, name: str, least: int) -> None:
    column = rows.column(name)
    bad = (column != np.rint(column)) | (column < least)
    rows.refuse(bad, lambda row: f"{name} is {column[row]:g}, needed a whole number from {least}")


def in_order(rows: Rows, policy: Policy = REFUSE) -> Rows:
    """Return rows whose frames do not fall: as they are, or sorted where the policy repairs clocks.

    Raises:
        DataError: If frames fall and the policy refuses that; names file and line.
    """
    frames = rows.column("frame")
    fallen = np.flatnonzero(np.diff(frames) < 0) + 1
    if not fallen.size:
        return rows
    first = int(fallen[0])
    if policy.clock == "refuse":
        raise DataError(
            f"{rows.place.at(first)}: frame {frames[first]:g} after {frames[first - 1]:g} ({fallen.size} such rows): "
            "frames are out of order. Sort the file, or read it with clock='repair'."
        )
    line = f"{rows.path}: frames fall at {fallen.size} rows, sorted, the first is line {rows.lines[first]}"
    taken = rows.take(np.argsort(frames, kind="stable"))
    return Rows(taken.path, taken.columns, taken.values, taken.lines, (*rows.repairs, line))


def merged(tables: Sequence[Rows]) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Lay tables of the same columns behind one another and sort their rows by frame, stably.

    Raises:
        DataError: If they have not the same columns.
    """
    columns = tables[0].columns
    for rows in tables[1:]:
        if rows.columns != columns:
            raise DataError(f"{rows.path}: has columns {rows.columns}, {tables[0].path} has {columns}: need the same.")
    if len(tables) == 1:
        return columns, tables[0].values
    values = np.concatenate([rows.values for rows in tables])
    return columns, values[np.argsort(values[:, columns.index("frame")], kind="stable")]


def to_stream(
    columns: tuple[str, ...],
    values: npt.NDArray[np.float64],
    count: int,
    frame: str,
    classes: tuple[str, ...] = CLASSES,
) -> RaggedStream:
    """Lay rows in order of their frames into a stream at 10 Hz; frames without rows are empty tables.

    Args:
        columns: `frame` first, then the channels.
        values: Shape (N, 1 + C), the frame not falling.
        count: Number of frames T.
        frame: Frame id.
        classes: Words of the column `class`, where there is one.
    """
    channels = columns[1:]
    splits = np.searchsorted(values[:, 0], np.arange(count + 1)).astype(np.int64)
    units = tuple(UNITS.get(name, "") for name in channels)
    labels = {"class": classes} if "class" in channels else {}
    table = np.ascontiguousarray(values[:, 1:])
    return RaggedStream(np.arange(count, dtype=np.int64) * PERIOD, splits, table, channels, units, frame, labels)


def count_frames(tables: Sequence[Rows], given: int | None) -> int:
    """Return the number of frames: as given, or up to the last that has a row.

    Raises:
        DataError: If a row has a frame beyond the given number, or beyond `MOST_FRAMES`.
    """
    for rows in tables:
        frames = rows.column("frame")
        rows.refuse(
            frames >= MOST_FRAMES, lambda row, f=frames: f"frame is {f[row]:g}, needed one below {MOST_FRAMES:,}"
        )
    if given is None:
        return max((int(rows.column("frame").max(initial=-1)) + 1 for rows in tables), default=0)
    for rows in tables:
        frames = rows.column("frame")
        rows.refuse(frames >= given, lambda row, f=frames: f"frame is {f[row]:g}, the sequence has {given} frames")
    return given
