"""KITTI's odometry benchmark: poses of the left camera, 12 numbers a row, read and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.kitti.boxes import PERIOD
from mambats.formats.kitti.calibration import ROUNDED
from mambats.formats.kitti.rows import Layout, Rows, read_rows
from mambats.formats.repair import REFUSE, Policy, settle_clock
from mambats.results import write_whole
from mambats.series import Stamps, Stream

CHANNELS = ("px", "py", "pz", "qx", "qy", "qz", "qw")
UNITS = ("m", "m", "m", "", "", "", "")
POSES = Layout(tuple(f"{part}{row}{column}" for row in range(3) for column, part in enumerate(("r", "r", "r", "t"))))
TIMES = Layout(("time",))


def read_poses(
    path: Path | str,
    times: Path | str | None = None,
    *,
    frame: str = "camera_start",
    policy: Policy = REFUSE,
) -> tuple[Stream, tuple[str, ...]]:
    """Read poses: rows of the 3x4 matrix that maps points of the camera to its first frame.

    Args:
        path: Text file (`poses/07.txt`), 12 numbers a row.
        times: The sequence's `times.txt` (seconds a row); None for 10 Hz from 0.
        frame: Frame id of the first camera: x right, y down, z forward.
        policy: `clock='repair'` drops rows whose time does not rise, `torn='repair'` a last line cut off.

    Returns:
        The pose (px py pz in metres, quaternion scalar last) and the lines to report.

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
    settled = settle_clock(stamps, rows.place, policy)
    quaternions = Rotation.from_matrix(turn[settled.rows]).as_quat()
    values = np.hstack([matrix[settled.rows, :, 3], quaternions])
    stream = Stream(stamps[settled.rows], values, CHANNELS, unit=UNITS, frame=frame)
    return stream, (*rows.repairs, *lines, *settled.repairs)


def write_poses(pose: Stream, path: Path | str, times: Path | str | None = None) -> Path:
    """Write poses as rows of 12 numbers, and their times where asked.

    Args:
        pose: Channels px py pz qx qy qz qw, all observed.
        path: Text file.
        times: Text file of seconds after the first stamp, or None.

    Returns:
        The path.

    Raises:
        DataError: If a channel is missing or a pose was not observed; names the row.
    """
    from scipy.spatial.transform import Rotation

    if missing := [name for name in CHANNELS if name not in pose.channels]:
        raise DataError(f"the pose has no {', '.join(missing)}, its channels are {', '.join(pose.channels)}.")
    values = pose.values[:, [pose.channels.index(name) for name in CHANNELS]].astype(np.float64)
    lost = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if lost.size:
        raise DataError(f"row {lost[0]} of the pose is not observed ({lost.size} such rows): this format has no gaps.")
    matrix = np.zeros((len(values), 3, 4))
    matrix[:, :, :3] = Rotation.from_quat(values[:, 3:]).as_matrix() if len(values) else 0
    matrix[:, :, 3] = values[:, :3]
    text = "".join(" ".join(f"{v:.12e}" for v in row) + "\n" for row in matrix.reshape(-1, 12))
    if times is not None:
        seconds = (pose.stamps - pose.stamps[:1]) / 1e9
        write_whole(times, "".join(f"{second:.9f}\n" for second in seconds).encode())
    return write_whole(path, text.encode())


def _stamps(rows: Rows, times: Path | str | None, policy: Policy) -> tuple[Stamps, tuple[str, ...]]:
    count = len(rows.values)
    if times is None:
        return np.arange(count, dtype=np.int64) * PERIOD, ()
    clock = read_rows(times, TIMES, policy)
    if len(clock.values) != count:
        raise DataError(f"{clock.path}: has {len(clock.values)} times, {rows.path} has {count} poses: one each.")
    return np.rint(clock.values[:, 0] * 1e9).astype(np.int64), clock.repairs
