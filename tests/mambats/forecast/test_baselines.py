import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from mambats.forecast.baselines import (
    LastValue,
    Ridge,
    SeasonalNaive,
    fill_forward,
    filled_lookback,
    fit_baselines,
    target_present,
)
from mambats.forecast.metrics import seasonal_naive_error
from mambats.forecast.scoreboard import Scoreboard, forecast_baselines
from mambats.series import Window

NAN = float("nan")


def windows(values, lookback, horizon, size=64, **more):
    """Every window of values (T, C), in batches, and the same of more (T, C)."""
    parts = {k: v.unfold(0, lookback + horizon, 1).transpose(1, 2) for k, v in {"values": values, **more}.items()}
    for start in range(0, len(parts["values"]), size):
        yield Window(lookback=lookback, **{k: v[start : start + size] for k, v in parts.items()})


def score(baselines, batches, naive_error):
    """Scores of all baselines by name and metric, in one pass."""
    batches = list(batches)
    board = Scoreboard(dict.fromkeys(baselines), naive_error, batches[0].horizon)
    for window in batches:
        board.add(forecast_baselines(baselines, window), window)
    return board.values()


@pytest.fixture
def values():
    """A daily cycle of 8 rows, two channels of unlike size, noise."""
    time = torch.arange(300.0)
    cycle = torch.sin(2 * torch.pi * time / 8)
    return torch.stack([cycle, 3 * cycle.roll(2) + 1], 1) + 0.3 * torch.randn(300, 2)


def test_last_value_and_season_by_hand():
    window = Window(torch.arange(10.0).view(1, 10, 1), 5)
    assert LastValue().forecast(window).flatten().tolist() == [4] * 5
    assert SeasonalNaive(3).forecast(window).flatten().tolist() == [2, 3, 4, 2, 3]
    assert SeasonalNaive(5).forecast(window).flatten().tolist() == [0, 1, 2, 3, 4]
    assert SeasonalNaive(6).forecast(window).flatten().tolist() == [4] * 5  # a season that was not read
    with pytest.raises(ValueError, match="season is 0"):
        SeasonalNaive(0)


def test_holes_are_filled_from_the_past_then_from_the_mean():
    values = torch.tensor([[NAN, 2.0, NAN, 6.0, NAN]]).view(1, 5, 1)
    present = ~values.isnan()
    assert fill_forward(values, present).flatten().tolist() == [4, 2, 2, 6, 6]
    assert fill_forward(values, torch.zeros_like(present)).flatten().tolist() == [0] * 5
    window = Window(torch.nan_to_num(values), 3, observed=present)
    assert filled_lookback(window).flatten().tolist() == [2, 2, 2]  # the 6 lies in the horizon
    assert LastValue().forecast(window).flatten().tolist() == [2, 2]


def test_rows_that_do_not_exist_are_not_read_nor_scored():
    window = Window(torch.tensor([[[1.0], [5.0], [2.0], [3.0]]]), 2, mask=torch.tensor([[True, False, False, True]]))
    assert LastValue().forecast(window).flatten().tolist() == [1, 1]
    assert target_present(window).flatten().tolist() == [False, True]
    both = Window(window.values, 2, mask=window.mask, observed=torch.tensor([[[True], [True], [True], [False]]]))
    assert not target_present(both).any()


@pytest.mark.parametrize("lookback", [None, 9])
def test_ridge_is_that_of_scikit_learn(values, lookback):
    ridge = Ridge(1e-2, lookback).fit(windows(values, 12, 5))
    rows = torch.cat([window.values for window in windows(values, 12, 5)]).double().numpy()[:, 12 - (lookback or 12) :]
    length = rows.shape[1] - 5
    mean = rows[:, :length].mean(1, keepdims=True)
    flat = (rows - mean).transpose(0, 2, 1).reshape(-1, length + 5)
    theirs = SklearnRidge(alpha=1e-2 * len(flat)).fit(flat[:, :length], flat[:, length:])
    weight, intercept = ridge.solution
    np.testing.assert_allclose(weight.numpy().T, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(intercept.numpy(), theirs.intercept_, atol=1e-6)
    window = next(windows(values, 12, 5))
    expected = theirs.predict(flat[:, :length]).reshape(-1, 2, 5).transpose(0, 2, 1) + mean
    np.testing.assert_allclose(ridge.forecast(window).numpy(), expected[: len(window)], atol=1e-4)


def test_batches_do_not_change_ridge(values):
    one, other = (Ridge().fit(windows(values, 12, 5, size)) for size in (1000, 7))
    torch.testing.assert_close(one.solution, other.solution, rtol=1e-9, atol=1e-12)


def test_ridge_leaves_out_windows_with_missing_targets(values):
    observed = torch.ones_like(values, dtype=torch.bool)
    observed[150, 1] = False
    spoilt = values.clone()
    spoilt[150, 1] = 1e6
    ridge = Ridge().fit(windows(spoilt, 12, 5, observed=observed))
    assert ridge.solution[0].abs().max() < 2
    full = Ridge().fit(windows(values, 12, 5))
    torch.testing.assert_close(ridge.solution[0], full.solution[0], atol=0.05, rtol=0)


def test_ridge_without_a_complete_window_still_fits(values):
    observed = torch.ones_like(values, dtype=torch.bool)
    observed[::4] = False
    spoilt = torch.where(observed, values, 1e6)
    ridge = Ridge().fit(windows(spoilt, 12, 5, observed=observed))
    window = next(windows(spoilt, 12, 5, observed=observed))
    assert ridge.forecast(window).abs().max() < 20


def test_no_baseline_reads_the_future(values):
    window = next(windows(values, 12, 5, observed=torch.rand(300, 2) > 0.3))
    later = window.values.clone()
    later[:, 12:] = 1e6
    other = Window(later, 12, observed=window.observed)
    for baseline in fit_baselines(windows(values, 12, 5), 8).values():
        assert torch.equal(baseline.forecast(window), baseline.forecast(other))


def test_scores_of_all_baselines_in_one_pass(values):
    baselines = fit_baselines(windows(values[:200], 16, 8), 8)
    scores = score(baselines, windows(values[184:], 16, 8, size=10), seasonal_naive_error(values[:200], 8))
    assert list(scores) == ["last_value", "seasonal_naive", "ridge"]
    assert scores["ridge"]["mse"] < scores["seasonal_naive"]["mse"] < scores["last_value"]["mse"]
    whole = next(windows(values[184:], 16, 8, size=1000))
    mse = (baselines["ridge"].forecast(whole) - whole.target).double().square().mean()
    assert scores["ridge"]["mse"] == pytest.approx(mse.item())


def test_missing_targets_are_not_scored(values):
    observed = torch.rand(300, 2) > 0.2
    baselines = {"last_value": LastValue()}
    naive = seasonal_naive_error(values, 8, observed)
    one, other = (
        score(baselines, windows(torch.where(observed, values, fill), 16, 8, observed=observed), naive)
        for fill in (0.0, 1e6)
    )
    assert one["last_value"] == other["last_value"]


def test_bad_input_is_refused(values):
    with pytest.raises(RuntimeError, match="call fit"):
        Ridge().forecast(next(windows(values, 12, 5)))
    with pytest.raises(ValueError, match="no window"):
        Ridge().fit([])
    with pytest.raises(ValueError, match="reads 20 rows"):
        Ridge(lookback=20).fit(windows(values, 12, 5))
    with pytest.raises(ValueError, match="lookback 9 and horizon 5, earlier ones 12 and 5"):
        Ridge().fit([*windows(values, 12, 5), *windows(values, 9, 5)])
    with pytest.raises(ValueError, match="fitted for 5 steps"):
        Ridge().fit(windows(values, 12, 5)).forecast(next(windows(values, 12, 6)))
    with pytest.raises(ValueError, match="penalty is 0"):
        Ridge(0)


@pytest.fixture(scope="module")
def etth1(data_root):
    """ETTh1 scaled on its 12 training months, (T, 7)."""
    path = data_root / "timeseries" / "ETTh1.csv"
    raw = np.genfromtxt(path, delimiter=",", skip_header=1, usecols=range(1, 8))
    train = raw[:8640]
    return torch.tensor((raw - train.mean(0)) / train.std(0), dtype=torch.float32)


# Lookback, MSE and MAE at horizon 96 over all 2,785 test windows: a float64 solution by scikit-learn, made once.
RIDGE = {96: (0.3832, 0.3917), 336: (0.3701, 0.3915)}


@pytest.mark.parametrize("lookback", [96, 336])
def test_published_numbers_on_etth1(etth1, lookback):
    baselines = fit_baselines(windows(etth1[:8640], lookback, 96, 512), 24)
    test = list(windows(etth1[11520 - lookback : 14400], lookback, 96, 512))
    assert sum(len(window) for window in test) == 2785
    scores = score(baselines, test, seasonal_naive_error(etth1[:8640], 24))
    found = {name: (round(float(s["mse"]), 4), round(float(s["mae"]), 4)) for name, s in scores.items()}
    assert found == {"last_value": (1.2944, 0.7132), "seasonal_naive": (0.5122, 0.4333), "ridge": RIDGE[lookback]}


def test_ridge_reads_fewer_rows_on_the_same_windows(etth1):
    """Ridge at 96 inside windows of 336 rows scores what it scores on windows of 96: the targets are the same."""
    ridge = Ridge(lookback=96).fit(windows(etth1[:8640], 96, 96, 512))
    test = windows(etth1[11520 - 336 : 14400], 336, 96, 512)
    scores = score({"ridge": ridge}, test, torch.ones(7))
    assert round(float(scores["ridge"]["mse"]), 4) == RIDGE[96][0]
