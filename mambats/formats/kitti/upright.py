"""KITTI's boxes of the camera as boxes that stand upright in a frame whose z points up."""

from __future__ import annotations

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.kitti.boxes import SOLID
from mambats.series import FrameTree, RaggedStream

CHANNELS = ("x", "y", "z", "l", "w", "h", "yaw")
UNITS = ("m", "m", "m", "m", "m", "m", "rad")
KEPT = ("track", "class", "score", "truncated", "occluded")  # what a turn does not change


def upright_boxes(boxes: RaggedStream, frames: FrameTree, target: str = "lidar") -> RaggedStream:
    """Express boxes in a frame with x forward, y left, z up (REP-103): the middle of the box, yaw about z from x.

    The small tilt of the camera against the target is lost: a box stands upright in the target.

    Args:
        boxes: As this package reads them: h w l, x y z of the bottom's middle, yaw, in `camera_rect`.
        frames: The calibration tree.
        target: Frame id with z up.

    Returns:
        Channels x y z l w h yaw, and of track, class, score, truncated and occluded those that there are. DontCare
        rows are left out: they are nowhere.

    Raises:
        DataError: If a channel is missing.
        ValueError: If no transforms join the frames.
    """
    if missing := [name for name in SOLID if name not in boxes.channels]:
        raise DataError(f"the boxes have no {', '.join(missing)}, their channels are {', '.join(boxes.channels)}.")
    words = boxes.labels.get("class", ())
    real = np.ones(len(boxes.values), dtype=np.bool_)
    if "DontCare" in words:
        real = boxes.values[:, boxes.channels.index("class")] != words.index("DontCare")
    column = {name: boxes.values[real, at].astype(np.float64) for at, name in enumerate(boxes.channels)}
    transform = frames.transform(target, boxes.frame)
    middle = np.stack([column["x"], column["y"] - column["h"] / 2, column["z"]], axis=1)
    place = middle @ transform[:3, :3].T + transform[:3, 3]
    # rotation_y turns the camera's x axis about y, which points down: the box's length lies along (cos, 0, -sin).
    zero = np.zeros(len(place))
    ahead = np.stack([np.cos(column["yaw"]), zero, -np.sin(column["yaw"])], axis=1) @ transform[:3, :3].T
    yaw = np.arctan2(ahead[:, 1], ahead[:, 0])
    kept = [name for name in KEPT if name in boxes.channels]
    values = np.column_stack([place, column["l"], column["w"], column["h"], yaw, *(column[name] for name in kept)])
    splits = np.concatenate(([0], np.cumsum(real)))[boxes.splits].astype(np.int64)
    labels = {name: held for name, held in boxes.labels.items() if name in kept}
    units = (*UNITS, *("" for _ in kept))
    return RaggedStream(boxes.stamps, splits, values, (*CHANNELS, *kept), units, target, labels)
