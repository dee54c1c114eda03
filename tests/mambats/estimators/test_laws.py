"""Every estimator obeys the laws."""

import pytest
import torch

from mambats.encoders import CausalEncoder
from mambats.estimators import (
    ConstantNoise,
    ExtendedKalmanFilter,
    KalmanFilter,
    LinearMotion,
    LinearSensor,
    ParticleFilter,
    SigmaPoints,
    UnscentedKalmanFilter,
    WhiteAcceleration,
)
from mambats.estimators.learned import LearnedNoise
from mambats.testing import check_covariances, check_estimator
from tests.mambats.estimators.inertial_case import navigator
from tests.mambats.estimators.turning import straight, turning


def kalman(**changes):
    motion = LinearMotion([[0, 1], [0, 0]], WhiteAcceleration([0.5]))
    sensors = {
        "place": LinearSensor([[1, 0]], ConstantNoise([1.0])),
        "all": LinearSensor([[1, 0], [0, 1]], ConstantNoise([2.0, 0.5])),
    }
    return KalmanFilter(motion, sensors, ConstantNoise([3.0, 2.0]), **changes)


def learned(estimator):
    """A network that says something."""
    model = LearnedNoise(estimator, CausalEncoder(LearnedNoise.channels_for(estimator), width=4, layers=1))
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


BUILD = {
    "kalman": kalman,
    "kalman, gated": lambda: kalman(gate=0.9),
    "inertial": lambda: navigator("gnss", "wheel", "rolling", "still", "barometer"),
    "learned, kalman": lambda: learned(kalman()),
    "learned, inertial": lambda: learned(navigator("gnss")),
    "extended": lambda: straight(ExtendedKalmanFilter),
    "extended, gated": lambda: straight(ExtendedKalmanFilter, gate=0.9),
    "extended, turning": lambda: turning(ExtendedKalmanFilter),
    "iterated, turning": lambda: turning(ExtendedKalmanFilter, iterations=3),
    "unscented": lambda: straight(UnscentedKalmanFilter),
    "unscented, turning": lambda: turning(UnscentedKalmanFilter),
    "unscented, narrow": lambda: turning(UnscentedKalmanFilter, points=SigmaPoints(0.1)),
    "particle": lambda: straight(ParticleFilter, particles=30),
    "particle, turning": lambda: turning(ParticleFilter, particles=30),
}
DIVISIBLE = ("kalman", "kalman, gated", "extended", "extended, gated", "unscented")


@pytest.mark.parametrize("name", BUILD)
def test_the_laws_hold(name):
    check_estimator(BUILD[name], divisible=name in DIVISIBLE)


@pytest.mark.parametrize("name", ["kalman", "inertial", "unscented, turning", "particle"])
def test_the_laws_hold_in_float32(name):
    check_estimator(BUILD[name], divisible=name in DIVISIBLE, dtype=torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["extended, turning", "unscented, turning", "unscented, narrow"])
def test_covariances_stay_proper_over_100_000_random_updates_in_float32(name):
    with torch.no_grad():
        check_covariances(BUILD[name]().float(), 100, 1000, seed=1, scale=30.0)
