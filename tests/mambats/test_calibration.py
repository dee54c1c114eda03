import math

import pytest
import torch

from mambats.calibration import (
    check_quantiles,
    covered,
    crps_from_quantiles,
    crps_from_samples,
    interval_columns,
    pinball,
    pit_from_quantiles,
    pit_from_samples,
)

LEVELS = (0.1, 0.5, 0.9)


def test_pinball_by_hand():
    values, target = torch.tensor([[0.0, 2.0, 3.0]]), torch.tensor([1.0])
    torch.testing.assert_close(pinball(values, target, LEVELS), torch.tensor([[0.1, 0.5, 0.2]]))


def test_pinball_is_least_at_the_quantile():
    target = torch.randn(20000, dtype=torch.float64)
    grid = torch.linspace(-3, 3, 601, dtype=torch.float64)
    for level in LEVELS:
        mean = torch.stack([pinball(point.expand(20000, 1), target, (level,)).mean() for point in grid])
        assert grid[mean.argmin()] == pytest.approx(torch.quantile(target, level).item(), abs=0.02)


def test_crps_from_quantiles_of_the_median_is_the_absolute_error():
    values, target = torch.randn(5, 4, 1), torch.randn(5, 4)
    torch.testing.assert_close(crps_from_quantiles(values, target, (0.5,)), (values[..., 0] - target).abs())


@pytest.mark.parametrize("fair", [True, False])
def test_crps_from_samples_is_the_pairwise_sum(fair):
    samples, target = torch.randn(3, 2, 7, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    pairs = (samples.unsqueeze(-1) - samples.unsqueeze(-2)).abs().sum((-1, -2)) / (7 * 6 if fair else 7 * 7)
    expected = (samples - target.unsqueeze(-1)).abs().mean(-1) - pairs / 2
    torch.testing.assert_close(crps_from_samples(samples, target, fair=fair), expected)


def test_crps_of_a_normal_is_the_published_one():
    """N(0, 1) at 0: (sqrt(2) - 1) / sqrt(pi), Gneiting and Raftery 2007, equation 21."""
    exact = (2**0.5 - 1) / math.pi**0.5
    target = torch.zeros(4000)
    # Few draws: only the fair score is right on average.
    samples = torch.randn(4000, 5)
    assert crps_from_samples(samples, target).mean().item() == pytest.approx(exact, abs=0.02)
    assert crps_from_samples(samples, target, fair=False).mean().item() > exact + 0.05


def test_coverage_of_a_normal():
    target = torch.randn(20000)
    inside = covered(torch.tensor(-1.6449), torch.tensor(1.6449), target).double().mean().item()
    assert inside == pytest.approx(0.9, abs=0.01)
    assert covered(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([1.0])).all()  # bounds are inside


def test_interval_columns():
    assert interval_columns((0.05, 0.1, 0.5, 0.9, 0.95), 0.9) == (0, 4)
    assert interval_columns((0.05, 0.1, 0.5, 0.9, 0.95), 0.8) == (1, 3)  # (1 - 0.8) / 2 is 0.09999999999999998
    with pytest.raises(ValueError, match=r"needs 0\.25"):
        interval_columns(LEVELS, 0.5)
    with pytest.raises(ValueError, match="within"):
        interval_columns(LEVELS, 1.0)


def test_pit_from_quantiles_by_hand():
    values = torch.tensor([0.0, 1.0, 3.0]).expand(6, 3)
    target = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 9.0])
    expected = torch.tensor([0.05, 0.1, 0.3, 0.5, 0.7, 0.95])
    torch.testing.assert_close(pit_from_quantiles(values, target, LEVELS), expected)


def test_pit_of_one_level_and_of_equal_values():
    one = pit_from_quantiles(torch.zeros(3, 1), torch.tensor([-1.0, 0.0, 1.0]), (0.5,))
    assert one.tolist() == [0.25, 0.5, 0.75]
    flat = pit_from_quantiles(torch.zeros(3, 3), torch.tensor([-1.0, 0.0, 1.0]), LEVELS)
    assert flat.isfinite().all() and flat[0] < flat[1] < flat[2]


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_pit_is_uniform_only_where_the_forecast_is_calibrated(scale):
    target, samples = torch.randn(4000), scale * torch.randn(4000, 199)
    levels = [i / 20 for i in range(1, 20)]
    values = (scale * torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(levels))).expand(4000, -1)
    for pit in (pit_from_samples(samples, target), pit_from_quantiles(values, target, levels)):
        share = torch.histc(pit, bins=5, min=0, max=1) / 4000
        assert ((share - 0.2).abs() < 0.03).all() == (scale == 1.0)


def test_ties_count_half():
    assert pit_from_samples(torch.tensor([[1.0, 1.0, 0.0, 2.0]]), torch.tensor([1.0])).item() == 0.5


@pytest.mark.parametrize("levels", [(), (0.0,), (1.0,), (0.5, 0.5), (0.9, 0.1), (float("nan"),)])
def test_bad_levels_are_refused(levels):
    with pytest.raises(ValueError, match="within"):
        check_quantiles(levels)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="3 quantiles"):
        pinball(torch.zeros(4, 2), torch.zeros(4), LEVELS)
    with pytest.raises(ValueError, match="need"):
        crps_from_samples(torch.zeros(4, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="two or more"):
        crps_from_samples(torch.zeros(4, 1), torch.zeros(4))
