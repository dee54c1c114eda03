import math

import pytest
import torch

from mambats.estimators import BlockNoise, ConstantNoise, RandomWalk, WhiteAcceleration, WhiteJerk, check_covariance
from mambats.estimators.models import Noise

NOISES = [
    ConstantNoise([0.5, 2.0]),
    ConstantNoise(covariance=[[1.0, 0.6], [0.6, 2.0]]),
    RandomWalk([0.3, 0.1]),
    WhiteAcceleration([0.7]),
    WhiteJerk([0.2, 1.5]),
    BlockNoise([RandomWalk([0.3]), WhiteAcceleration([0.5, 1.0])]),
]


@pytest.mark.parametrize("noise", NOISES, ids=lambda n: type(n).__name__)
def test_covariance_is_symmetric_and_positive_definite_and_scales(noise: Noise):
    noise = noise.double()
    elapsed = torch.tensor([0.01, 1.0, 3600.0], dtype=torch.float64)
    made = noise(elapsed)
    assert made.shape == (3, noise.size, noise.size)
    check_covariance(made, "made")
    scale = torch.rand(3, noise.size, dtype=torch.float64) + 0.5
    torch.testing.assert_close(noise(elapsed, scale), torch.diag_embed(scale) @ made @ torch.diag_embed(scale))


@pytest.mark.parametrize("noise", NOISES, ids=lambda n: type(n).__name__)
def test_gradients_equal_finite_differences(noise: Noise):
    noise = noise.double()
    parameters = dict(noise.named_parameters())
    elapsed = torch.tensor([0.3, 1.7], dtype=torch.float64, requires_grad=True)

    def made(elapsed: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(noise, dict(zip(parameters, values, strict=True)), (elapsed,))

    assert torch.autograd.gradcheck(made, (elapsed, *parameters.values()))


@pytest.mark.parametrize("noise", [RandomWalk([0.3, 0.1]), WhiteAcceleration([0.7]), WhiteJerk([0.2])])
def test_two_steps_add_up_to_one(noise: Noise):
    """White noise has no memory: Q of 3 s is Q of 2 s moved on by 1 s, and Q of 1 s."""
    noise = noise.double()
    orders = noise.size // len(noise.density)
    n = len(noise.density)
    move = torch.eye(noise.size, dtype=torch.float64)
    for i in range(orders):
        for j in range(i + 1, orders):
            for axis in range(n):
                move[i * n + axis, j * n + axis] = 1 / math.factorial(j - i)
    one, two, three = noise(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(three, move @ two @ move.mT + one)


def test_nothing_grows_in_no_time():
    for noise in NOISES[2:]:
        assert not noise(torch.zeros(2)).any()


def test_constant_noise_gives_back_what_it_was_built_from():
    covariance = torch.tensor([[4.0, -1.0, 0.3], [-1.0, 1.0, 0.2], [0.3, 0.2, 9.0]], dtype=torch.float64)
    torch.testing.assert_close(ConstantNoise(covariance=covariance).matrix(), covariance, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(ConstantNoise([0.5, 3.0]).matrix(), torch.diag(torch.tensor([0.25, 9.0])))


def test_settings_are_printed():
    assert "deviation=[0.5, 3.0]" in repr(ConstantNoise([0.5, 3.0]))
    assert "correlation=[[1.0, 0.6], [0.6, 1.0]]" in repr(ConstantNoise(covariance=[[1.0, 0.6], [0.6, 1.0]]))
    assert "density=[0.7]" in repr(WhiteAcceleration([0.7]))


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        ([[1.0, 0.5], [0.2, 1.0]], "not symmetric"),
        ([[1.0, 1.0], [1.0, 1.0]], "not positive definite"),
        ([[1.0, 0.0], [0.0, 0.0]], "not positive definite"),
        ([[1.0, math.nan], [math.nan, 1.0]], "not finite"),
        ([[1.0, 0.0]], "square"),
    ],
)
def test_bad_covariance_is_refused(covariance: list[list[float]], message: str):
    with pytest.raises(ValueError, match=message):
        ConstantNoise(covariance=covariance)


@pytest.mark.parametrize("values", [[1.0, 0.0], [-1.0], [], [math.nan]])
def test_bad_deviations_are_refused(values: list[float]):
    with pytest.raises(ValueError, match="above 0"):
        ConstantNoise(values)
    with pytest.raises(ValueError, match="above 0"):
        RandomWalk(values)


def test_one_source_is_needed():
    with pytest.raises(ValueError, match="one of the two"):
        ConstantNoise()
    with pytest.raises(ValueError, match="at least one"):
        BlockNoise([])
