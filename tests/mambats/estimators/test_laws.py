"""Every estimator with a Gaussian or a cloud obeys the laws; the inertial filter's are beside it."""

import pytest
import torch

from mambats.estimators import ExtendedKalmanFilter, ParticleFilter, SigmaPoints, UnscentedKalmanFilter
from mambats.testing import check_covariances, check_estimator
from tests.mambats.estimators.turning import straight, turning

BUILD = {
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
DIVISIBLE = ("extended", "extended, gated", "unscented")


@pytest.mark.parametrize("name", BUILD)
def test_the_laws_hold(name):
    check_estimator(BUILD[name], divisible=name in DIVISIBLE)


@pytest.mark.parametrize("name", ["extended", "unscented, turning", "particle"])
def test_the_laws_hold_in_float32(name):
    check_estimator(BUILD[name], divisible=name in DIVISIBLE, dtype=torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["extended, turning", "unscented, turning", "unscented, narrow"])
def test_covariances_stay_proper_over_100_000_random_updates_in_float32(name):
    with torch.no_grad():
        check_covariances(BUILD[name]().float(), 100, 1000, seed=1, scale=30.0)
