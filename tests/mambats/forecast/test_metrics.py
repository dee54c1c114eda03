import math

import pytest
import torch

from mambats.forecast.metrics import (
    CRPS,
    MAE,
    MASE,
    MSE,
    SMAPE,
    Coverage,
    WeightedQuantileLoss,
    forecast_metrics,
    point_forecast,
    seasonal_naive_error,
)

LEVELS = (0.05, 0.5, 0.95)

# One window, two steps, two channels: errors 1, -2, 0, 4.
FORECAST = torch.tensor([[[2.0, 1.0], [0.0, 8.0]]])
TARGET = torch.tensor([[[1.0, 3.0], [0.0, 4.0]]])


def score(metric, forecast, target, **more):
    metric.update(forecast, target, **more)
    return metric.compute().tolist()


def test_values_by_hand():
    assert score(MSE(), FORECAST, TARGET) == pytest.approx((1 + 4 + 0 + 16) / 4)
    assert score(MAE(), FORECAST, TARGET) == pytest.approx((1 + 2 + 0 + 4) / 4)
    assert score(SMAPE(), FORECAST, TARGET) == pytest.approx((1 / 3 + 2 / 4 + 0 + 4 / 12) / 4)
    assert score(MASE([0.5, 2.0]), FORECAST, TARGET) == pytest.approx((1 / 0.5 + 2 / 2 + 0 + 4 / 2) / 4)


def test_quantile_values_by_hand():
    values = torch.tensor([[[[0.0, 2.0, 5.0]], [[1.0, 2.0, 3.0]]]])  # (1, 2, 1, 3)
    target = torch.tensor([[[1.0], [-4.0]]])
    first = (0.05 * 1 + 0.5 * 1 + 0.05 * 4) / 3
    second = (0.95 * 5 + 0.5 * 6 + 0.05 * 7) / 3
    assert score(CRPS(LEVELS), values, target) == pytest.approx(2 * (first + second) / 2)
    assert score(WeightedQuantileLoss(LEVELS), values, target) == pytest.approx(2 * (first + second) / 5)
    assert score(Coverage(LEVELS, 0.9), values, target) == 0.5
    assert score(MAE(LEVELS), values, target) == pytest.approx((1 + 6) / 2)


def test_crps_of_many_levels_approaches_the_normal_one():
    """The CRPS of N(0, 1) at y = 0 is (sqrt(2) - 1) / sqrt(pi): Gneiting and Raftery 2007, equation 21."""
    levels = [(i + 0.5) / 500 for i in range(500)]
    values = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(levels, dtype=torch.float64)).view(1, 1, 1, -1)
    assert score(CRPS(levels), values, torch.zeros(1, 1, 1)) == pytest.approx((2**0.5 - 1) / math.pi**0.5, abs=1e-4)


@pytest.fixture
def data():
    forecast, target = torch.randn(10, 4, 3, 3).sort(-1).values, torch.randn(10, 4, 3)
    observed = torch.rand(10, 4, 3) > 0.3
    return forecast, target, observed


def metrics(horizon=None):
    naive = [0.5, 1.0, 2.0]
    return [
        *(kind(LEVELS, horizon) for kind in (MSE, MAE, SMAPE, CRPS, WeightedQuantileLoss)),
        MASE(naive, LEVELS, horizon),
        Coverage(LEVELS, 0.9, horizon),
    ]


@pytest.mark.parametrize("index", range(7))
def test_batches_of_any_size_give_the_same_score(index, data):
    """The mean of batch means would not: the batches are unequal and unequally observed."""
    whole, parts = metrics()[index], metrics()[index]
    whole.update(*data)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 10)):
        parts.update(*(x[rows] for x in data))
    torch.testing.assert_close(parts.compute(), whole.compute(), rtol=1e-12, atol=0)
    means = []
    for rows in (slice(0, 7), slice(7, 8), slice(8, 10)):
        alone = metrics()[index]
        alone.update(*(x[rows] for x in data))
        means.append(alone.compute())
    assert not torch.isclose(torch.stack(means).mean(), whole.compute(), rtol=1e-3)


@pytest.mark.parametrize("index", range(7))
def test_absent_entries_do_not_count(index, data):
    forecast, target, observed = data
    holes = torch.where(observed, target, float("nan"))
    one, other = metrics()[index], metrics()[index]
    one.update(forecast, holes, observed)
    other.update(torch.where(observed[..., None], forecast, 1e6), target, observed)
    assert one.compute().isfinite()
    torch.testing.assert_close(one.compute(), other.compute())


@pytest.mark.parametrize("index", range(7))
def test_the_horizon_curve_averages_to_the_score(index, data):
    forecast, target, _ = data
    curve, whole = metrics(4)[index], metrics()[index]
    curve.update(forecast, target)
    whole.update(forecast, target)
    steps = curve.compute()
    assert steps.shape == (4,)
    torch.testing.assert_close((steps * curve.count).sum() / curve.count.sum(), whole.compute())
    step = metrics()[index]
    step.update(forecast[:, 2:3], target[:, 2:3])
    torch.testing.assert_close(steps[2], step.compute())


def test_two_processes_add_up(data):
    """What torchmetrics does in a distributed run: stack the states and reduce by the declared function."""
    halves = [MSE(LEVELS), MSE(LEVELS)]
    halves[0].update(*(x[:3] for x in data))
    halves[1].update(*(x[3:] for x in data))
    joined, whole = MSE(LEVELS), MSE(LEVELS)
    for name in ("total", "count"):
        setattr(joined, name, joined._reductions[name](torch.stack([getattr(half, name) for half in halves])))
    whole.update(*data)
    torch.testing.assert_close(joined.total / joined.count, whole.compute())


def test_seasonal_naive_error_by_hand():
    values = torch.tensor([[0.0, 1.0], [1.0, 1.0], [4.0, 1.0], [3.0, 1.0]])
    assert seasonal_naive_error(values, 2).tolist() == [3.0, 0.0]
    observed = torch.ones(4, 2, dtype=torch.bool)
    observed[0, 0] = False
    values[0, 0] = float("nan")
    assert seasonal_naive_error(values, 2, observed).tolist() == [2.0, 0.0]
    assert seasonal_naive_error(values, 4).isnan().all()
    with pytest.raises(ValueError, match="season is 0"):
        seasonal_naive_error(values, 0)


def test_mase_leaves_out_channels_without_a_scale_and_reads_the_series():
    assert score(MASE([0.5, 0.0]), FORECAST, TARGET) == pytest.approx((1 / 0.5 + 0) / 2)
    naive = torch.tensor([[1.0, 1.0], [0.5, 0.5]])
    two, target = FORECAST.repeat(2, 1, 1), TARGET.repeat(2, 1, 1)
    assert score(MASE(naive), two, target, series=torch.tensor([1, 0])) == pytest.approx((7 / 0.5 + 7) / 8)
    assert score(MASE(naive[0]), two, target, series=torch.tensor([1, 0])) == pytest.approx(7 / 4)
    with pytest.raises(ValueError, match="give series"):
        MASE(naive).update(two, target)
    with pytest.raises(ValueError, match="3 channels"):
        MASE([1.0, 1.0, 1.0]).update(FORECAST, TARGET)


def test_the_scale_of_mase_survives_reset_and_stays_out_of_checkpoints():
    metric = MASE([0.5, 2.0])
    first = score(metric, FORECAST, TARGET)
    metric.reset()
    assert score(metric, FORECAST, TARGET) == first
    assert metric.state_dict() == {}


def test_point_of_quantiles():
    forecast = torch.tensor([[[[0.0, 1.0, 5.0]]]])
    assert point_forecast(forecast, (0.1, 0.5, 0.9)).item() == 1
    assert point_forecast(forecast, (0.1, 0.4, 0.9)).item() == pytest.approx(1 + 4 * 0.1 / 0.5)
    assert point_forecast(forecast, (0.6, 0.7, 0.9)).item() == 0
    assert point_forecast(forecast, (0.1, 0.2, 0.3)).item() == 5
    assert point_forecast(forecast, None) is forecast


def test_the_table_of_metrics():
    assert set(forecast_metrics([1.0, 1.0])) == {"mse", "mae", "mase"}
    assert set(forecast_metrics([1.0], LEVELS)) == {"mse", "mae", "mase", "crps", "coverage_90"}
    assert set(forecast_metrics([1.0], (0.1, 0.5))) == {"mse", "mae", "mase", "crps"}


def test_the_collection_does_not_share_states():
    """Errors of 0 and 1 give MSE and MAE equal sums; later batches must still be told apart."""
    collection = forecast_metrics([1.0, 1.0])
    for _ in range(2):
        collection.update(torch.ones(1, 2, 2), torch.zeros(1, 2, 2), observed=None, series=None)
    collection.update(3 * torch.ones(2, 2, 2), torch.zeros(2, 2, 2), observed=None, series=None)
    values = collection.compute()
    assert values["mse"] == pytest.approx((1 + 1 + 9 * 2) / 4)
    assert values["mae"] == pytest.approx((1 + 1 + 3 * 2) / 4)


def test_nothing_counted_is_nan():
    assert math.isnan(score(MSE(), FORECAST, TARGET, observed=torch.zeros_like(TARGET, dtype=torch.bool)))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="need the same"):
        MSE().update(FORECAST[:, :1], TARGET)
    with pytest.raises(ValueError, match="need values of shape"):
        MSE(LEVELS).update(FORECAST, TARGET)
    with pytest.raises(ValueError, match="horizon=3"):
        MSE(horizon=3).update(FORECAST, TARGET)
    with pytest.raises(ValueError, match=r"needs 0\.05"):
        Coverage((0.1, 0.5, 0.9), 0.9)
