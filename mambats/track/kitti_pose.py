"""Where the camera of a KITTI sequence stood: planar poses from its OXTS rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mambats.formats.error import DataError
from mambats.formats.kitti import read_calibration
from mambats.formats.kitti.boxes import PERIOD
from mambats.formats.kitti.oxts import OXTS, oxts_streams
from mambats.formats.kitti.rows import read_rows

# x forward, y left, z up of boxes (`mambats.track.kitti`) to x right, y down, z forward of the rectified camera.
_AXES = np.array([[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def read_planar_poses(oxts: Path, calibration: Path) -> Tensor:
    """Return x, y, z and yaw of the boxes' axes in the world at each frame, shape (F, 4).

    Args:
        oxts: 30 numbers a frame.
        calibration: Of the same sequence, with the place of the inertial unit.

    Raises:
        DataError: If a file cannot be used, or the calibration has no inertial unit; names it.
    """
    from scipy.spatial.transform import Rotation

    rows = read_rows(oxts, OXTS)
    known = read_calibration(calibration)
    if known.imu_to_lidar is None:
        raise DataError(
            f"{calibration}: has no Tr_imu_velo, so poses cannot be brought to the camera. Leave --poses out."
        )
    stamps = np.arange(len(rows.values), dtype=np.int64) * PERIOD
    _, truth, _ = oxts_streams(rows, stamps)
    pose = truth["pose"].values
    world = np.tile(np.eye(4), (len(pose), 1, 1))
    world[:, :3, 3], world[:, :3, :3] = pose[:, :3], Rotation.from_quat(pose[:, 3:]).as_matrix()
    seat = world @ np.linalg.inv(known.lidar_to_rect @ known.imu_to_lidar) @ _AXES
    yaw = np.unwrap(np.arctan2(seat[:, 1, 0], seat[:, 0, 0]))
    return torch.from_numpy(np.column_stack([seat[:, :3, 3], yaw]))
