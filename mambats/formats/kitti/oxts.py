"""The rows of KITTI's inertial and satellite unit (OXTS RT 3003): 30 numbers a row, to streams and local positions.

Source: Geiger et al., Vision meets Robotics: The KITTI Dataset, IJRR 2013, and its development kit (dataformat.txt,
convertOxtsToPose.m, latlonToMercator.m).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.kitti.rows import Rows, TextLayout
from mambats.formats.layout import IMU, POSE, VELOCITY
from mambats.series import Stamps, Stream

COLUMNS = (
    "latitude", "longitude", "altitude", "roll", "pitch", "yaw", "vn", "ve", "vf", "vl", "vu",
    "ax", "ay", "az", "af", "al", "au", "wx", "wy", "wz", "wf", "wl", "wu",
    "pos_accuracy", "vel_accuracy", "navstat", "numsats", "posmode", "velmode", "orimode",
)  # fmt: skip
OXTS = TextLayout(COLUMNS)
EARTH = 6378137.0  # metres: the radius that the development kit takes


def mercator(
    latitude: npt.NDArray[np.float64], longitude: npt.NDArray[np.float64], scale: float
) -> npt.NDArray[np.float64]:
    """Project to metres east and north, shape (T, 2): x = s r lon, y = s r log tan(pi/4 + lat/2).

    Args:
        latitude: Degrees, shape (T,).
        longitude: Degrees, shape (T,).
        scale: Cosine of the first latitude, which makes distances there true.
    """
    east = scale * EARTH * np.radians(longitude)
    north = scale * EARTH * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
    return np.stack([east, north], axis=1)


def oxts_streams(rows: Rows, stamps: Stamps) -> tuple[dict[str, Stream], dict[str, Stream], dict[str, float]]:
    """Make streams of rows.

    Args:
        rows: Table of `OXTS`.
        stamps: Time of each row in int64 nanoseconds, shape (T,).

    Returns:
        Streams `imu` (frame imu: x forward, y left, z up), `gnss` (degrees, metres) and `velocity` (east, north, up in
        `map`); the truth `pose`: of the frame imu in `map`, a local Mercator projection (x east, y north, z up) with
        the first position as its origin; and the facts `origin_latitude`, `origin_longitude`, `origin_altitude`.

    Raises:
        DataError: If a position is none on Earth; names file and line.
    """
    from scipy.spatial.transform import Rotation

    latitude, longitude, altitude = (rows.column(name) for name in COLUMNS[:3])
    rows.refuse(
        (np.abs(latitude) > 89) | (np.abs(longitude) > 180),
        lambda row: (
            f"latitude and longitude are {latitude[row]:g}, {longitude[row]:g}, needed degrees within 89 and 180"
        ),
    )
    if not len(stamps):
        raise DataError(f"{rows.path}: has no rows.")
    flat = mercator(latitude, longitude, float(np.cos(np.radians(latitude[0]))))
    place = np.column_stack([flat - flat[0], altitude - altitude[0]])
    # R = Rz(yaw) Ry(pitch) Rx(roll), yaw from east anticlockwise.
    turn = Rotation.from_euler("ZYX", rows.part(("yaw", "pitch", "roll"))).as_quat()
    pose = Stream(stamps, np.hstack([place, turn]), POSE.channels, unit=POSE.unit, frame="map")
    motion, speed = rows.part(IMU.channels), rows.part(("ve", "vn", "vu"))
    streams = {
        "imu": Stream(stamps, motion, IMU.channels, unit=IMU.unit, frame="imu"),
        "gnss": Stream(stamps, rows.part(COLUMNS[:3]), COLUMNS[:3], unit=("deg", "deg", "m")),
        "velocity": Stream(stamps, speed, VELOCITY.channels, unit=VELOCITY.unit, frame="map"),
    }
    facts = {f"origin_{name}": float(rows.column(name)[0]) for name in COLUMNS[:3]}
    return streams, {"pose": pose}, facts
