import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mambats.formats import DataError
from mambats.formats.inertial import check_imu, check_quaternion_order, check_turning
from mambats.formats.layout import IMU, POSE
from mambats.formats.repair import REFUSE, Policy
from mambats.series import Stream

TRUST = Policy(units="trust")


def wander(seed, tilt=0.4, rows=400):
    """A body that turns about changing axes while it is pushed about, and its true pose."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(rows) / 100
    heading = rng.uniform(-3, 3) + rng.uniform(-1, 1) * seconds
    turns = Rotation.from_rotvec(np.outer(heading, (0, 0, 1))) * Rotation.from_rotvec(
        tilt * np.sin(np.outer(seconds, rng.uniform(0.5, 3, size=3)) + rng.uniform(0, 6, size=3))
    )
    rates = (turns[:-1].inv() * turns[1:]).as_rotvec() * 100
    pushed = np.sin(np.outer(seconds, rng.uniform(3, 9, size=3))) + np.array([0, 0, 9.81])
    forces = turns.inv().apply(pushed) + rng.normal(scale=0.05, size=(rows, 3))
    stamps = (seconds * 1e9).astype(np.int64)
    pose = np.hstack((np.zeros((rows, 3)), turns.as_quat()))
    return Stream(stamps, np.hstack((np.vstack((rates, rates[-1])), forces)), IMU.channels), Stream(
        stamps, pose, POSE.channels
    )


def reordered(pose, shift):
    values = pose.values.copy()
    values[:, 3:] = np.roll(values[:, 3:], shift, axis=1)
    return Stream(pose.stamps, values, pose.channels)


@pytest.mark.parametrize("seed", range(12))
def test_the_order_is_told_by_gravity(seed):
    imu, pose = wander(seed)
    check_quaternion_order(imu, pose, "a", REFUSE)
    with pytest.raises(DataError, match="a: as read.*taken as 'scalar first, w x y z'"):
        check_quaternion_order(imu, reordered(pose, 1), "a", REFUSE)
    with pytest.raises(DataError, match="taken as 'scalar last, x y z w'"):
        check_quaternion_order(imu, reordered(pose, -1), "a", REFUSE)
    check_quaternion_order(imu, reordered(pose, 1), "a", TRUST)


@pytest.mark.parametrize("seed", range(4))
def test_rates_in_degrees_are_told_by_the_truth(seed):
    imu, pose = wander(seed, tilt=0.1)
    check_turning(imu, pose, "a", REFUSE)
    values = imu.values.copy()
    values[:, :3] = np.rad2deg(values[:, :3])
    degrees = Stream(imu.stamps, values, imu.channels)
    with pytest.raises(DataError, match="a: the gyroscope's median rate .* Are the rates in deg/s"):
        check_turning(degrees, pose, "a", REFUSE)
    check_turning(degrees, pose, "a", TRUST)


def test_impossible_numbers_are_told_alone():
    imu, _ = wander(0)
    check_imu(imu, "a", REFUSE)
    for factors, message in (
        ((1, 1 / 9.81), "about one gravity in g"),
        ((1, 1000 / 9.81), "gravity in mg"),
        ((180, 1), "needed rad/s"),
    ):
        values = imu.values * np.repeat(factors, 3)
        with pytest.raises(DataError, match=message):
            check_imu(Stream(imu.stamps, values, imu.channels), "a", REFUSE)
        check_imu(Stream(imu.stamps, values, imu.channels), "a", TRUST)


def test_streams_without_rows_or_overlap_tell_nothing():
    imu, pose = wander(0)
    nothing = Stream(imu.stamps[:0], imu.values[:0], imu.channels)
    later = Stream(pose.stamps + 10**12, np.roll(pose.values, 1, axis=1), pose.channels)
    for one, other in ((nothing, pose), (imu, later), (imu, Stream(pose.stamps[:0], pose.values[:0], pose.channels))):
        check_imu(one, "a", REFUSE)
        check_quaternion_order(one, other, "a", REFUSE)
        check_turning(one, other, "a", REFUSE)
