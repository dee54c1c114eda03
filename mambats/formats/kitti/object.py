"""KITTI's object benchmark: one frame with its LiDAR sweep, pictures, calibration and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.kitti.boxes import CLASSES, FRAME, OBJECT, check_boxes, to_stream
from mambats.formats.kitti.calibration import Base, read_calibration
from mambats.formats.kitti.folder import PICTURES
from mambats.formats.kitti.rows import read_rows
from mambats.formats.points import read_points
from mambats.formats.repair import REFUSE, Policy
from mambats.series import ImageStream, RaggedStream, Recording

POINT = ("x", "y", "z", "intensity")


def read_object(root: Path | str, frame: str, *, base: Base = "lidar", policy: Policy = REFUSE) -> Recording:
    """Read one frame; frames of this benchmark do not follow each other, so each is a recording with one stamp, 0.

    Args:
        root: Folder with `calib/`, `velodyne/`, `image_2/`, `image_3/`, `label_2/`; what is not there is left out,
            the calibration alone is needed.
        frame: Its number as the files are named, `000001`.
        base: Root of the frame tree.
        policy: `torn='repair'` leaves out what is cut off at a file's end.

    Returns:
        A recording with the ragged streams `lidar` and `labels` (in `camera_rect`) and the pictures `camera_2` and
        `camera_3`.

    Raises:
        DataError: If a file cannot be used or nothing but the calibration is there; names it, and the line or byte.
    """
    root, stamp = Path(root), np.zeros(1, dtype=np.int64)
    calibration = read_calibration(root / "calib" / f"{frame}.txt")
    ragged, images, repairs = dict[str, RaggedStream](), dict[str, ImageStream](), list[str]()
    sweep = root / "velodyne" / f"{frame}.bin"
    if sweep.is_file():
        points, lines = read_points(sweep, POINT, policy)
        splits = np.array([0, len(points)], dtype=np.int64)
        ragged["lidar"] = RaggedStream(stamp, splits, points, POINT, ("m", "m", "m", ""), "lidar")
        repairs += lines
    label = root / "label_2" / f"{frame}.txt"
    if label.is_file():
        ragged["labels"], lines = read_object_labels(label, policy)
        repairs += lines
    for camera in calibration.projections:
        found = [path for end in PICTURES if (path := root / f"image_{camera}" / f"{frame}{end}").is_file()]
        if found:
            name = f"camera_{camera}"
            images[name] = ImageStream(stamp, found[:1], name, calibration.intrinsics(camera))
    if not ragged and not images:
        raise DataError(f"{root}: has no sweep, picture or label of frame {frame}. Is this the right folder?")
    return Recording(f"kitti_object_{frame}", {}, {}, ragged, images, calibration.frames(base), {}, tuple(repairs))


def read_object_labels(path: Path | str, policy: Policy = REFUSE) -> tuple[RaggedStream, tuple[str, ...]]:
    """Read the labels or results of one frame: as of tracking, without frame and track.

    Returns:
        The stream with one stamp, 0, and the lines to report.

    Raises:
        DataError: If a line cannot be used; names file and line.
    """
    rows = read_rows(path, OBJECT, policy)
    check_boxes(rows, CLASSES)
    values = np.hstack([np.zeros((len(rows.values), 1)), rows.values])
    return to_stream(("frame", *rows.columns), values, 1, FRAME, CLASSES), rows.repairs
