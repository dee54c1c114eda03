"""The laws of estimators on a GPU, and the same numbers as on the CPU."""

import pytest
import torch

from mambats.estimators import ExtendedKalmanFilter, ParticleFilter, UnscentedKalmanFilter
from mambats.testing import agree_states, check_estimator
from mambats.testing.moments import draw_moments, play
from tests.mambats.estimators.turning import turning

BUILD = {
    "extended": lambda: turning(ExtendedKalmanFilter),
    "unscented": lambda: turning(UnscentedKalmanFilter),
    "particle": lambda: turning(ParticleFilter, particles=30),
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", BUILD)
def test_the_laws_hold(name):
    check_estimator(BUILD[name], divisible=False, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("name", BUILD)
def test_the_numbers_are_the_cpus(name):
    """The cloud too: its random numbers follow from its keys."""
    made = []
    for device in ("cpu", "cuda"):
        filter_ = BUILD[name]().to(device)
        like = torch.zeros((), dtype=torch.float64)
        moments = [m._replace(elapsed=m.elapsed.to(device), value=m.value.to(device), mask=m.mask.to(device))
                   for m in draw_moments(filter_, 6, 3, like, seed=0, scale=1.0)]  # fmt: skip
        with torch.no_grad():
            state, _ = play(filter_, filter_.init_state(3), moments)
        made.append(type(state)(*(leaf.cpu() for leaf in state)))
    agree_states("GPU == CPU", made[1], made[0])
