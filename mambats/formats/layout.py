"""What the columns of a sensor are called, in which unit, and how rows of a file become its stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mambats.formats.repair import REFUSE, Place, Policy, mark_missing, settle_clock, settle_quaternions
from mambats.series import Stamps, Stream

TURN = ("qx", "qy", "qz", "qw")


@dataclass(frozen=True)
class Layout:
    """Channels of a stream and their units, SI where there is one.

    Args:
        channels: One name a column.
        unit: One unit for all, or one a column.
    """

    channels: tuple[str, ...]
    unit: str | tuple[str, ...] = ""


IMU = Layout(("wx", "wy", "wz", "ax", "ay", "az"), ("rad/s",) * 3 + ("m/s^2",) * 3)
MAGNETOMETER = Layout(("mx", "my", "mz"), "uT")
POSE = Layout(("px", "py", "pz", *TURN), ("m",) * 3 + ("",) * 4)
POSITION = Layout(("px", "py", "pz"), "m")
VELOCITY = Layout(("vx", "vy", "vz"), "m/s")
RATE = Layout(("wx", "wy", "wz"), "rad/s")
ACCELERATION = Layout(("ax", "ay", "az"), "m/s^2")


@dataclass(frozen=True)
class Made:
    """A stream, and what was repaired to make it (lines for `Recording.repairs`)."""

    stream: Stream
    repairs: tuple[str, ...] = ()


def make_stream(
    stamps: Stamps,
    values: npt.NDArray[np.float64],
    layout: Layout,
    place: Place,
    policy: Policy = REFUSE,
    *,
    frame: str = "",
    covariance: npt.NDArray[np.float64] | None = None,
) -> Made:
    """Make a stream of rows as they stand in a file: settle the clock, quaternions (`qx qy qz qw`) and absent values.

    Args:
        stamps: Times, int64 nanoseconds, shape (T,).
        values: In the units of the layout, shape (T, C); changed in place where a value is infinite.
        layout: Names and units.
        place: Where the rows stand.
        policy: What to do with faults.
        frame: Frame id of the stream.
        covariance: Of the measurement noise, shape (C, C).

    Raises:
        DataError: If there is a fault that the policy refuses; names file and row.
    """
    settled = settle_clock(stamps, place, policy)
    if settled.repairs:
        stamps, values, place = stamps[settled.rows], values[settled.rows], place.keep(settled.rows)
    turns = tuple[str, ...]()
    if set(TURN) <= set(layout.channels):
        columns = [layout.channels.index(name) for name in TURN]
        values[:, columns], turns = settle_quaternions(values[:, columns], place, policy)
    observed, lost = mark_missing(values, place)
    stream = Stream(stamps, values, layout.channels, observed, layout.unit, frame, covariance)
    return Made(stream, (*settled.repairs, *turns, *lost))
