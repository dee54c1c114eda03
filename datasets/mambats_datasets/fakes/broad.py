"""A short BROAD trial: a rocking IMU, the pose of its markers with a burst of NaN, movement in the middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mambats_datasets.fakes.body import rocking

RATE = 2000 / 7  # Hz, as published


def fake(folder: Path, rows: int = 600, lost: tuple[int, int] = (100, 112)) -> Path:
    """Write a trial whose markers were lost in rows [lost) and return its path."""
    from scipy.io import savemat

    body = rocking(rows, RATE)
    poses = np.hstack((body.position, np.roll(body.quaternion, 1, axis=1)))
    poses[slice(*lost)] = np.nan
    movement = np.zeros((rows, 1), dtype=np.uint8)
    movement[rows // 4 : 3 * rows // 4] = 1
    path = folder / "10_undisturbed_slow_translation_A.mat"
    folder.mkdir(parents=True, exist_ok=True)
    held = {
        "imu_gyr": body.rate,
        "imu_acc": body.force,
        "imu_mag": body.field,
        "opt_quat": poses[:, 3:],
        "opt_pos": poses[:, :3],
        "sampling_rate": np.array([[RATE]]),
        "movement": movement,
        "info": "a fake",
    }
    savemat(path, held, do_compression=True)
    return path
