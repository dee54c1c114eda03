import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats.calibration import (
    average_band,
    chi_square_quantile,
    crps_from_gaussian,
    crps_from_samples,
    gaussian_nll,
    inside_ellipsoid,
    inside_interval,
    nees,
    nis,
)
from mambats.gaussian import Gaussian


def drawn(entries, size, inflate=1.0):
    """Estimates with a planted covariance, and truths drawn from it; `inflate` multiplies what the estimate claims."""
    root = torch.randn(size, size, dtype=torch.float64) + 2 * torch.eye(size, dtype=torch.float64)
    mean = torch.randn(entries, size, dtype=torch.float64)
    truth = mean + torch.randn(entries, size, dtype=torch.float64) @ root.T
    return Gaussian(mean, (inflate * root @ root.T).expand(entries, size, size)), truth


@pytest.mark.parametrize("degrees", [1, 2, 7, 21, 3000])
@pytest.mark.parametrize("probability", [1e-4, 0.025, 0.5, 0.95, 0.975, 1 - 1e-9])
def test_chi_square_quantile_is_scipys(probability, degrees):
    stats = pytest.importorskip("scipy.stats")
    assert chi_square_quantile(probability, degrees) == pytest.approx(stats.chi2.ppf(probability, degrees), rel=1e-7)


def test_the_band_of_seven_numbers_is_the_published_one():
    assert average_band(1, 7) == pytest.approx((1.69, 16.01), abs=0.005)
    low, high = average_band(400, 3)
    assert low < 3 < high and high - low < 0.6


@pytest.mark.parametrize("size", [1, 2, 5])
def test_nees_of_a_consistent_estimate_averages_to_its_size(size):
    estimate, truth = drawn(4000, size)
    low, high = average_band(4000, size, 0.9999)
    assert low < nees(estimate, truth).mean() < high
    boastful = Gaussian(estimate.mean, estimate.covariance / 2)
    assert nees(boastful, truth).mean() > high


def test_nees_by_hand_and_nis_is_the_same_form():
    estimate = Gaussian(torch.tensor([1.0, 2.0]), torch.tensor([[4.0, 0.0], [0.0, 9.0]]))
    truth = torch.tensor([3.0, 5.0])
    assert nees(estimate, truth).item() == pytest.approx(2.0)
    assert nis(truth - estimate.mean, estimate.covariance).item() == pytest.approx(2.0)


@given(st.integers(1, 5), st.integers(0, 10_000))
def test_nees_does_not_depend_on_units_or_axes(size, seed):
    torch.manual_seed(seed)
    estimate, truth = drawn(3, size)
    turn = torch.randn(size, size, dtype=torch.float64) + 3 * torch.eye(size, dtype=torch.float64)
    covariance = turn @ estimate.covariance @ turn.T
    other = Gaussian(estimate.mean @ turn.T, (covariance + covariance.mT) / 2)
    torch.testing.assert_close(nees(other, truth @ turn.T), nees(estimate, truth), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("inflate", [1.0, 4.0, 0.25])
def test_coverage_is_the_level_only_where_calibrated(level, inflate):
    estimate, truth = drawn(20000, 3, inflate)
    for inside in (inside_ellipsoid(estimate, truth, level), inside_interval(estimate, truth, level)):
        share = inside.double().mean().item()
        assert (abs(share - level) < 0.015) == (inflate == 1.0)
        assert (share > level) == (inflate > 1.0) or inflate == 1.0


def test_nll_is_that_of_torch_and_of_the_gaussian_itself():
    estimate, truth = drawn(6, 4)
    normal = torch.distributions.MultivariateNormal(estimate.mean, estimate.covariance)
    torch.testing.assert_close(gaussian_nll(estimate, truth), -normal.log_prob(truth))
    torch.testing.assert_close(gaussian_nll(estimate, truth), estimate.nll(truth))


def test_crps_is_that_of_many_draws_and_the_published_one():
    standard = Gaussian(torch.zeros(1), torch.ones(1, 1))
    assert crps_from_gaussian(standard, torch.zeros(1)).item() == pytest.approx((2**0.5 - 1) / math.pi**0.5)
    estimate, truth = Gaussian(torch.tensor([1.0]), torch.tensor([[4.0]])), torch.tensor([2.5])
    samples = 1.0 + 2.0 * torch.randn(1, 200_000)
    assert crps_from_gaussian(estimate, truth).item() == pytest.approx(
        crps_from_samples(samples, truth).item(), rel=0.02
    )
    sure = Gaussian(torch.tensor([1.0]), torch.zeros(1, 1))
    assert crps_from_gaussian(sure, truth).item() == pytest.approx(1.5)


@pytest.mark.parametrize(
    "entry", [[[1.0, 0.0], [0.5, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[float("nan"), 0.0], [0.0, 1.0]]]
)
def test_a_covariance_that_is_none_is_named(entry):
    covariance = torch.eye(2).repeat(4, 1, 1)
    covariance[2] = torch.tensor(entry)
    with pytest.raises(ValueError, match=r"covariance \[2\] is not symmetric positive definite"):
        nees(Gaussian(torch.zeros(4, 2), covariance), torch.zeros(4, 2))


def test_rounding_is_no_asymmetry_and_no_entry_is_no_mistake():
    covariance = torch.eye(2) + torch.tensor([[0.0, 1e-6], [0.0, 0.0]])
    assert nis(torch.ones(2), covariance).item() == pytest.approx(2.0, rel=1e-4)
    assert nees(Gaussian(torch.zeros(0, 2), torch.zeros(0, 2, 2)), torch.zeros(0, 2)).shape == (0,)


def test_bad_shapes_levels_and_counts_are_refused():
    with pytest.raises(ValueError, match=r"needed \(\.\.\., n\)"):
        nees(Gaussian(torch.zeros(3, 2), torch.eye(2)), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="level is 1"):
        inside_interval(Gaussian(torch.zeros(2), torch.eye(2)), torch.zeros(2), 1.0)
    with pytest.raises(ValueError, match="entries is 0"):
        average_band(0, 3)
    with pytest.raises(ValueError, match="degrees is 0"):
        chi_square_quantile(0.5, 0)
