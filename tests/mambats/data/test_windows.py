import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats.data import Loading, WindowDataModule
from mambats.data.windows import Lane, Lanes, WindowIndex, Windows
from mambats_datasets import Oscillators


def flat(lengths, channels=2):
    rows = sum(lengths)
    values = np.arange(channels * rows, dtype=np.float32).reshape(channels, rows)
    return values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    lookback=st.integers(1, 5),
    horizon=st.integers(1, 4),
    stride=st.integers(1, 4),
)
def test_windows_are_the_slices_they_stand_for(lengths, lookback, horizon, stride):
    values, offsets = flat(lengths)
    length = lookback + horizon
    index = WindowIndex.over(np.zeros(len(lengths), np.int64), np.array(lengths), length, stride)
    listed = [(s, a) for s, n in enumerate(lengths) for a in range(0, n - length + 1, stride)]
    assert len(index) == len(listed)
    if not listed:
        return
    batch = Windows(Lanes(offsets, Lane(values)), index, lookback, horizon)[np.arange(len(listed))]
    assert [(int(s), int(a)) for s, a in zip(batch.series, batch.start, strict=True)] == listed
    for window, (series, start) in zip(batch.values, listed, strict=True):
        first = offsets[series] + start
        assert np.array_equal(window.numpy(), values[:, first : first + length].T)
    assert batch.lookback == lookback
    assert batch.horizon == horizon


def test_ett_windows_are_counted_as_published():
    # Test windows of ETTh1 and ETTm1 at lookback 96 and four horizons, and training windows at 96.
    for borders, expected in (
        ((11520, 14400), (2785, 2689, 2545, 2161)),
        ((46080, 57600), (11425, 11329, 11185, 10801)),
    ):
        for horizon, count in zip((96, 192, 336, 720), expected, strict=True):
            index = WindowIndex.over(np.array([borders[0] - 96]), np.array([borders[1]]), 96 + horizon)
            assert len(index) == count
    assert len(WindowIndex.over(np.array([0]), np.array([8640]), 192)) == 8449


def test_counting_needs_no_list():
    index = WindowIndex.over(np.array([0, 5]), np.array([10**12, 10**12]), 192)
    series, start = index.locate(np.array([0, 10**12 - 192, 10**12 - 191]))
    assert series.tolist() == [0, 0, 1]
    assert start.tolist() == [0, 10**12 - 192, 5]


@pytest.mark.parametrize("missing", ["absent", "forward_fill"])
def test_scaling_on_the_way_out_equals_scaling_at_once(missing):
    source = Oscillators(rows=200, series=2, absent=0.2, covariates=True)
    batches = []
    for in_memory in (2**31, 0):
        data = WindowDataModule(
            source, 24, 8, calendar=("hour_of_day",), missing=missing, loading=Loading(in_memory=in_memory)
        )
        data.setup()
        batches.append(data.windows("train")[np.arange(50)])
    for name in ("values", "past", "future", "observed"):
        assert torch.equal(getattr(batches[0], name), getattr(batches[1], name)), name


def test_values_are_scaled_with_training_statistics():
    data = WindowDataModule(Oscillators(rows=300, noise=0.5), 24, 8)
    data.setup()
    rows = data.panel.values[:, :210].astype(np.float64)
    assert torch.allclose(data.scaler.mean, torch.tensor(rows.mean(1), dtype=torch.float32), atol=1e-6)
    assert torch.allclose(data.scaler.scale, torch.tensor(rows.std(1), dtype=torch.float32), atol=1e-6)
    batch = data.windows("test")[np.array([0])]
    start = int(batch.start)
    raw = torch.from_numpy(data.panel.values[:, start : start + 32].T.copy())
    assert torch.allclose(batch.values[0], data.scaler.transform(raw), atol=1e-6)
    assert start + 24 == 240, "the first test window's first target is the split's first row"


def test_irregular_clocks_give_gaps_and_a_clock():
    data = WindowDataModule(Oscillators(rows=400, irregular=0.3), 24, 8)
    data.setup()
    assert data.period_ns == 3600 * 10**9
    batch = data.windows("train")[np.array([7])]
    stamps = data.window_stamps(batch, "train")[0]
    steps = np.diff(stamps) / data.period_ns
    assert steps.max() >= 2
    assert batch.gaps[0, 0] == 1
    assert np.array_equal(batch.gaps[0, 1:].numpy(), steps.astype(np.float32))
    assert np.array_equal(batch.clock[0].numpy(), stamps // data.period_ns)


def test_regular_clocks_give_no_gaps_but_a_clock():
    data = WindowDataModule(Oscillators(rows=200, series=3), 24, 8)
    data.setup()
    batch = data.windows("train")[np.array([3, 150])]
    assert batch.gaps is None
    assert batch.mask is None
    assert batch.observed is None
    assert np.array_equal(batch.clock.numpy(), data.window_stamps(batch, "train") // data.period_ns)


def test_stride_thins_training_only():
    dense, thin = (WindowDataModule(Oscillators(), 24, 8, loading=Loading(stride=stride)) for stride in (1, 7))
    dense.setup()
    thin.setup()
    assert len(thin.windows("train")) == -(-len(dense.windows("train")) // 7)
    assert len(thin.windows("test")) == len(dense.windows("test"))
    assert thin.windows("train")[np.array([2])].start.item() == 14
