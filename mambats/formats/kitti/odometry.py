"""KITTI's odometry benchmark: poses of the left camera, 12 numbers a row, read and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from mambats.formats.error import DataError
from mambats.formats.kitti.boxes import PERIOD
from mambats.formats.kitti.calibration import ROUNDED, read_calibration
from mambats.formats.kitti.rows import Rows, TextLayout, read_rows
from mambats.formats.layout import POSE, make_stream
from mambats.formats.repair import REFUSE, Policy
from mambats.results import write_whole
from mambats.series import FrameTree, Recording, Stamps, Stream

POSES = TextLayout(
    tuple(f"{part}{row}{column}" for row in range(3) for column, part in enumerate(("r", "r", "r", "t")))
)
TIMES = TextLayout(("time",))


def read_poses(
    path: Path | str,
    times: Path | str | None = None,
    *,
    calibration: Path | str | None = None,
    policy: Policy = REFUSE,
) -> Recording:
    """Read poses: rows of the 3x4 matrix that maps points of the left camera to its first frame.

    Args:
        path: Text file (`poses/07.txt`), 12 numbers a row.
        times: The sequence's `times.txt` (seconds a row); None for 10 Hz from 0.
        calibration: The sequence's `calib.txt` for the frame tree (root `camera_rect`, the left camera),
            or None.
        policy: `clock='repair'` drops rows whose time does not rise, `torn='repair'` a last line cut off.

    Returns:
        A recording with the stream `pose` (px py pz in metres, quaternion scalar last) in the frame `camera_start`:
        that of the first camera, x right, y down, z forward.

    Raises:
        DataError: If a line cannot be used, a rotation is none, or times and poses differ in number; names the line.
    """
    from scipy.spatial.transform import Rotation

    rows = read_rows(path, POSES, policy)
    if not len(rows.values):
        raise DataError(f"{path}: has no rows. Give 12 numbers a line.")
    matrix = rows.values.reshape(-1, 3, 4)
    turn = matrix[:, :, :3]
    off = np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) > ROUNDED
    rows.refuse(
        off | (np.linalg.det(turn) < 0),
        lambda row: f"the left 3 x 3 block is not a rotation: {turn[row].tolist()}",
    )
    stamps, lines = _stamps(rows, times, policy)
    values = np.hstack([matrix[:, :, 3], Rotation.from_matrix(turn).as_quat()])
    made = make_stream(stamps, values, POSE, rows.place, policy, frame="camera_start")
    frames = read_calibration(calibration).frames("camera_rect") if calibration else FrameTree()
    repairs = (*rows.repairs, *lines, *made.repairs)
    return Recording(Path(path).stem, {"pose": made.stream}, frames=frames, repairs=repairs)


def write_poses(path: Path | str, pose: Stream, times: Path | str | None = None) -> Path:
    """Write poses as rows of 12 numbers, and their times where asked.

    Args:
        path: Text file.
        pose: Channels px py pz qx qy qz qw, all observed.
        times: Text file of seconds after the first stamp, or None.

    Returns:
        The path.

    Raises:
        DataError: If a channel is missing or a pose was not observed; names the row.
    """
    from scipy.spatial.transform import Rotation

    names = POSE.channels
    if missing := [name for name in names if name not in pose.channels]:
        raise DataError(f"{path}: the pose has no {', '.join(missing)}, its channels are {', '.join(pose.channels)}.")
    values = pose.values[:, [pose.channels.index(name) for name in names]].astype(np.float64)
    lost = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if lost.size:
        raise DataError(
            f"{path}: row {lost[0]} of the pose is not observed ({lost.size} such rows): KITTI has no gaps."
        )
    matrix = np.zeros((len(values), 3, 4))
    matrix[:, :, :3] = Rotation.from_quat(values[:, 3:]).as_matrix() if len(values) else 0
    matrix[:, :, 3] = values[:, :3]
    table = pl.DataFrame(matrix.reshape(-1, 12), schema=list(POSES.columns))
    if times is not None:
        seconds = ((pose.stamps - pose.stamps[:1]) / 1e9).tolist()
        write_whole(times, "".join(f"{second:.9f}\n" for second in seconds).encode())
    return write_whole(path, table.write_csv(include_header=False, separator=" ").encode())


def _stamps(rows: Rows, times: Path | str | None, policy: Policy) -> tuple[Stamps, tuple[str, ...]]:
    count = len(rows.values)
    if times is None:
        return np.arange(count, dtype=np.int64) * PERIOD, ()
    clock = read_rows(times, TIMES, policy)
    if len(clock.values) != count:
        raise DataError(f"{clock.path}: has {len(clock.values)} times, {rows.path} has {count} poses: one each.")
    return np.rint(clock.values[:, 0] * 1e9).astype(np.int64), clock.repairs
