"""Faults that gravity and true poses give away: accelerations in g, rates in degrees, quaternions out of order."""

from __future__ import annotations

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.repair import Array, Policy
from mambats.series import Stamps, Stream

STANDARD_GRAVITY = 9.80665  # m/s^2, CGPM 1901
#: A median length within 30 % of these is gravity in another unit. (Ten real logs lie between 9.7 and 10.1 m/s^2.)
GRAVITY_ELSEWHERE = {"g": 1.0, "mg": 1000.0}
# The usual gyroscope of a robot saturates at 2000 deg/s = 34.9 rad/s an axis; 1 % of a log beyond that is degrees.
FASTEST = 35.0
# Parts of a log over which accelerations average out, and the deviation above which an order is doubted: as they are,
# three real logs (EuRoC MH_01, two BROAD trials) deviate by 0.02 to 0.05 of gravity, in other orders by 0.11 and more.
PARTS, TILTED = 40, 0.1
ROWS = 4000  # enough for a mean; a whole log would cost more than reading it


def check_imu(imu: Stream, where: str, policy: Policy) -> None:
    """Refuse accelerations in g and angular rates in degrees, as far as the numbers alone show them.

    Args:
        imu: Channels `wx wy wz ax ay az`, in rad/s and m/s^2 as claimed.
        where: File, for the message.
        policy: `units="trust"` skips the check (free fall, a gyroscope of a projectile, another planet).

    Raises:
        DataError: If the median length of the acceleration is that of gravity in g or mg, or more than 1 % of the
            rates are beyond 35 rad/s. Slow turns in degrees pass: `check_turning` finds them where there is truth.
    """
    if policy.units == "trust" or not len(imu):
        return
    some = imu.values[:: max(1, len(imu) // ROWS)]
    rates, forces = some[:, :3], some[:, 3:6]
    median = float(np.nanmedian(np.linalg.norm(forces, axis=1)))
    for unit, size in GRAVITY_ELSEWHERE.items():
        if 0.7 * size < median < 1.3 * size:
            raise DataError(
                f"{where}: the accelerometer's median length is {median:.4g}, about one gravity in {unit}; needed "
                f"m/s^2 (9.81). Declare the unit {unit!r} (`read_sensor_csv`), or read with Policy(units='trust')."
            )
    fast = float(np.nanpercentile(np.abs(rates), 99))
    if fast > FASTEST:
        raise DataError(
            f"{where}: 1 % of the angular rates are beyond {fast:.4g}; needed rad/s, and few gyroscopes reach "
            f"{FASTEST:g}. Declare the unit 'deg/s' (`read_sensor_csv`), or read with Policy(units='trust')."
        )


def check_turning(imu: Stream, pose: Stream, where: str, policy: Policy) -> None:
    """Refuse angular rates in degrees by the turns of the true pose.

    Args:
        imu: Channels `wx wy wz ax ay az`.
        pose: True pose of the same body, channels `px py pz qx qy qz qw`.
        where: File, for the message.
        policy: `units="trust"` skips the check.

    Raises:
        DataError: If the gyroscope turns about 57 times as fast as the truth.
    """
    from scipy.spatial.transform import Rotation

    if policy.units == "trust":
        return
    stamps, turns = _finite(pose, slice(3, 7))
    step = max(1, int(np.searchsorted(stamps, stamps[0] + 50_000_000))) if len(stamps) else 1  # 50 ms: above the noise
    if len(stamps) <= step:
        return
    rows = np.arange(0, len(stamps) - step, max(1, len(stamps) // ROWS))
    seconds = (stamps[rows + step] - stamps[rows]) / 1e9
    first, second = Rotation.from_quat(turns[rows]), Rotation.from_quat(turns[rows + step])
    true = float(np.median((first.inv() * second).magnitude() / seconds))
    inside = (imu.stamps >= stamps[0]) & (imu.stamps <= stamps[-1])
    measured = float(np.nanmedian(np.linalg.norm(imu.values[inside, :3], axis=1))) if inside.any() else 0.0
    if true > 0.01 and 0.6 < measured / np.rad2deg(true) < 1.6:
        raise DataError(
            f"{where}: the gyroscope's median rate is {measured:.4g}, the true pose turns at {true:.4g} rad/s "
            f"({np.rad2deg(true):.4g} deg/s). Are the rates in deg/s? Needed rad/s: convert them, or read with "
            "Policy(units='trust')."
        )


def check_quaternion_order(imu: Stream, pose: Stream, where: str, policy: Policy) -> None:
    """Refuse orientations that turn gravity down where the same numbers in another order turn it up.

    The mean of the specific force, turned into a world with z up, is gravity: 9.81 m/s^2 along z.

    Args:
        imu: Channels `wx wy wz ax ay az`, body frame.
        pose: Body in the world, channels `px py pz qx qy qz qw`.
        where: File of the pose, for the message.
        policy: `units="trust"` skips the check (a world whose z axis points down).

    Raises:
        DataError: If it is so; names the order that fits. Poses that fit in no order (another frame) pass.
    """
    if policy.units == "trust":
        return
    stamps, turns = _finite(pose, slice(3, 7))
    at, forces = _finite(imu, slice(3, 6))
    if not len(at) or not len(stamps):
        return
    both = np.flatnonzero((stamps >= at[0]) & (stamps <= at[-1]))
    both = both[:: max(1, len(both) // ROWS)]
    if not len(both):
        return
    turns, forces = turns[both], forces[np.searchsorted(at, stamps[both])]
    read = _tilt(turns, forces)
    if read < TILTED:
        return
    others = {
        "scalar last, x y z w": _tilt(np.roll(turns, 1, axis=1), forces),
        "scalar first, w x y z": _tilt(np.roll(turns, -1, axis=1), forces),
        "world to body": _tilt(turns * (-1, -1, -1, 1), forces),
    }
    best = min(others, key=others.__getitem__)
    if others[best] < 0.5 * read:
        raise DataError(
            f"{where}: as read, these quaternions turn gravity away from up by {read:.2f} of its length; taken as "
            f"'{best}' by {others[best]:.2f}. Do they stand in another order than the format has? Reorder "
            "the columns; or read with Policy(units='trust') if they are right (a world with z down)."
        )


def _tilt(turns: Array, forces: Array) -> float:
    """How far forces in the world are from up, each averaged over a part of the time, as a share of gravity."""
    from scipy.spatial.transform import Rotation

    length = float(np.median(np.linalg.norm(forces, axis=1)))
    world = np.array_split(Rotation.from_quat(turns).apply(forces), min(PARTS, len(forces)))
    means = np.array([part.mean(axis=0) for part in world])
    return float(np.sqrt(np.mean(np.sum((means - (0, 0, length)) ** 2, axis=1)))) / length


def _finite(stream: Stream, columns: slice) -> tuple[Stamps, Array]:
    chosen = stream.values[:, columns].astype(np.float64)
    whole = np.isfinite(chosen).all(axis=1)
    return stream.stamps[whole], chosen[whole]
