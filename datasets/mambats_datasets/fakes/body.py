"""A body that rocks in place: its pose and what an ideal IMU on it reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GRAVITY = 9.81
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rocking:
    """Samples of the motion.

    Args:
        stamps: int64 nanoseconds, shape (T,).
        position: Shape (T, 3), metres; it does not move.
        quaternion: Body to world (z up), x y z w, shape (T, 4).
        rate: Angular rate in the body, shape (T, 3), rad/s.
        force: Specific force in the body, shape (T, 3), m/s^2.
        field: Magnetic field in the body, shape (T, 3), microtesla.
    """

    stamps: npt.NDArray[np.int64]
    position: Array
    quaternion: Array
    rate: Array
    force: Array
    field: Array


def rocking(rows: int, hertz: float, start: int = 1_403_636_579_758_555_392, tilt: float = 0.3) -> Rocking:
    """Rock about the body's x axis: 0.5 rad, once in two seconds, tilted about y.

    Args:
        rows: T.
        hertz: Rate.
        start: First stamp, nanoseconds.
        tilt: Of the axis, rad.
    """
    from scipy.spatial.transform import Rotation

    seconds = np.arange(rows) / hertz
    angle, speed = 0.5 * np.sin(np.pi * seconds), 0.5 * np.pi * np.cos(np.pi * seconds)
    turns = Rotation.from_euler("y", tilt) * Rotation.from_rotvec(np.outer(angle, (1.0, 0.0, 0.0)))
    inside = turns.inv()
    return Rocking(
        stamps=start + np.rint(seconds * 1e9).astype(np.int64),
        position=np.tile((1.0, 2.0, 0.5), (rows, 1)),
        quaternion=turns.as_quat(),
        rate=np.outer(speed, (1.0, 0.0, 0.0)),
        force=inside.apply((0.0, 0.0, GRAVITY)),
        field=inside.apply((0.0, 20.0, -45.0)),
    )
