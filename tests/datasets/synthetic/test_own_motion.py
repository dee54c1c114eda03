"""Speed and yaw rate as truth, and two tables laid onto one another."""

from __future__ import annotations

import numpy as np
import pytest

from mambats.formats.error import DataError
from mambats.series import RaggedStream
from mambats_datasets.synthetic.own_motion import OwnMotion, stack_tables
from mambats_datasets.synthetic.robot import SimulatedRobots


def test_motion_is_the_speed_along_the_body_and_the_rate_about_it() -> None:
    robots = SimulatedRobots("robot", series=2, duration=3.0, sensors=("imu",), seed=4)
    plain, made = robots.recordings(), OwnMotion(robots, every=50).recordings()
    for before, after in zip(plain, made, strict=True):
        motion, velocity = after.truth["motion"], before.truth["velocity"]
        assert motion.stamps.tolist() == before.truth["pose"].stamps[49::50].tolist()
        # No slip: all of the velocity lies along the body, and the robot drives ahead.
        np.testing.assert_allclose(motion.values[:, 0], np.linalg.norm(velocity.values[49::50], axis=1), atol=1e-6)
        np.testing.assert_allclose(motion.values[:, 1], before.truth["rate"].values[49::50, 2])
        assert after.streams.keys() == before.streams.keys()


def tables() -> RaggedStream:
    """Tables of 2, 0, 1 and 3 rows."""
    splits = np.array([0, 2, 2, 3, 6])
    return RaggedStream(np.arange(1, 5) * 10, splits, np.arange(12.0).reshape(6, 2), ("x", "y"), ("m", "m"), "lidar")


def test_each_table_lies_on_an_earlier_one() -> None:
    stacked = stack_tables(tables(), 2)
    assert stacked.stamps.tolist() == [30, 40]
    assert stacked.channels == ("x", "y", "sweep")
    assert stacked.splits.tolist() == [0, 3, 6]
    assert stacked.values.tolist() == [[0, 1, 0], [2, 3, 0], [4, 5, 1], [6, 7, 1], [8, 9, 1], [10, 11, 1]]


def test_what_cannot_be_asked_is_refused() -> None:
    robots = SimulatedRobots("robot", series=1, duration=1.0, sensors=("imu",))
    with pytest.raises(DataError, match="more than 4"):
        stack_tables(tables(), 4)
    with pytest.raises(DataError, match="has no 'lidar'"):
        OwnMotion(robots, stacked="lidar").recordings()
    with pytest.raises(DataError, match="every is 0"):
        OwnMotion(robots, every=0)
