"""Does a recording keep REP-103 and REP-105? Gravity and the names of frames tell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.preprocess.carried import Values
from mambats.series import FrameTree

GRAVITY = 9.80665
ORDER = ("map", "odom", "base_link")


class ConventionError(ValueError):
    """Data that is not in the stated convention; the message names the convention that it fits."""


def check_gravity(
    quaternions: npt.NDArray[Any], forces: npt.NDArray[Any], tolerance: float = math.radians(10)
) -> float:
    """Check that quaternions turn measured specific forces into +9.81 m/s^2 along the z axis of the world.

    Accelerations of a robot that neither flies away nor falls average out, so a minute in motion is as good as rest.

    Args:
        quaternions: x y z w, sensor to world, shape (T, 4).
        forces: Specific forces of the accelerometer, shape (T, 3), m/s^2; NaN rows are left out.
        tolerance: Largest angle between their mean and the z axis, radians.

    Returns:
        The angle, radians.

    Raises:
        ConventionError: If the angle is larger, or the mean force is no gravity; names the readings that do fit:
            scalar first, inverse rotation, z down, forces in g.
    """
    rows = np.isfinite(quaternions).all(1) & np.isfinite(forces).all(1)
    if not rows.any():
        raise ConventionError("no row has a quaternion and a force: gravity cannot tell.")
    turns, pulls = np.asarray(quaternions, float)[rows], np.asarray(forces, float)[rows]
    length = np.linalg.norm(turns, axis=1)
    if (np.abs(length - 1) > 1e-3).any():
        at = int((np.abs(length - 1) > 1e-3).argmax())
        raise ConventionError(f"quaternion of row {np.flatnonzero(rows)[at]} has length {length[at]:.4f}, needed 1.")
    angles = {words: _angle(_read(turns, *how), pulls, sign) for words, (how, sign) in READINGS.items()}
    given = angles[AS_STATED]
    if given > tolerance:
        fits = [f"{words} ({math.degrees(a):.1f} degrees)" for words, a in angles.items() if a <= tolerance]
        raise ConventionError(
            f"as x y z w, sensor to world, z up, gravity is {math.degrees(given):.1f} degrees off the z axis. "
            + (f"What fits: {'; or '.join(fits)}." if fits else "No usual reading fits: are the clocks aligned?")
        )
    _check_unit(float(np.linalg.norm(pulls, axis=1).mean()))
    return given


AS_STATED = "x y z w"
# How to read (scalar first, inverse) and where gravity's reaction points, most usual first.
READINGS: dict[str, tuple[tuple[bool, bool], float]] = {
    AS_STATED: ((False, False), 1.0),
    "the quaternion is scalar first (w x y z): reorder it": ((True, False), 1.0),
    "the quaternion is world to sensor: conjugate it": ((False, True), 1.0),
    "the quaternion is scalar first and world to sensor": ((True, True), 1.0),
    "the world is z down (NED), or the accelerometer's sign is turned": ((False, False), -1.0),
    "scalar first, and z down (NED)": ((True, False), -1.0),
}


def _read(turns: Values, scalar_first: bool, inverse: bool) -> Values:
    made = np.roll(turns, -1, axis=1) if scalar_first else turns
    return made * np.array([-1.0, -1.0, -1.0, 1.0]) if inverse else made


def _angle(turns: Values, pulls: Values, sign: float) -> float:
    """Return the angle of the mean force to the z axis; pi / 2 where it is so short that it has no direction."""
    from scipy.spatial.transform import Rotation

    mean = sign * Rotation.from_quat(turns).apply(pulls).mean(0)
    size, usual = float(np.linalg.norm(mean)), float(np.linalg.norm(pulls, axis=1).mean())
    # A wrong reading of a moving sensor smears gravity over the sphere; the right one keeps over nine tenths of it.
    return math.pi / 2 if size < usual / 2 or usual == 0 else math.acos(float(np.clip(mean[2] / size, -1, 1)))


def _check_unit(mean: float) -> None:
    if abs(mean / GRAVITY - 1) > 0.2:
        unit = "g: multiply by 9.80665" if abs(mean - 1) < 0.2 else "another unit, or without gravity"
        raise ConventionError(f"forces have a mean length of {mean:.3g}, needed {GRAVITY} m/s^2: this is {unit}.")


def rep_findings(frames: FrameTree) -> tuple[str, ...]:
    """Return what in a calibration tree breaks REP-103 or REP-105, one line each; empty when nothing does.

    map is above odom, odom above base_link; the y axis of an optical frame (named so) points down, within 60 degrees
    of base_link's -z; what is under base_link hangs together with it.
    """
    above = {edge.child: edge.parent for edge in frames.edges}
    found = [
        f"{low!r} stands above {high!r}: REP-105 has {' > '.join(ORDER)}."
        for index, high in enumerate(ORDER)
        for low in ORDER[index + 1 :]
        if low in _line(above, high)[1:]
    ]
    for name in frames.names:
        if "base_link" not in frames.names or "base_link" not in _line(above, name)[1:]:
            continue
        down = -frames.transform("base_link", name)[2, 1]  # of the frame's y axis along -z of base_link
        if name.endswith("optical") or name.endswith("optical_frame"):
            if down < math.cos(math.radians(60)):
                found.append(f"the y axis of {name!r} does not point down: REP-103 has x right, y down, z forward.")
    return tuple(found)


def _line(above: dict[str, str], name: str) -> list[str]:
    made = [name]
    while made[-1] in above:
        made.append(above[made[-1]])
    return made
