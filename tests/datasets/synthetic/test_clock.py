import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats_datasets.synthetic.clock import Timing


@given(
    rate=st.floats(1, 500),
    latency=st.floats(0, 0.3),
    jitter=st.floats(0, 0.05),
    offset=st.floats(-10, 10),
    drift=st.floats(-200, 200),
    seed=st.integers(0, 2**31),
)
def test_stamps_are_what_the_clock_said(rate, latency, jitter, offset, drift, seed):
    ticks = Timing(rate, latency, jitter, offset, drift).ticks(2, 4.0, torch.Generator().manual_seed(seed))
    said = offset + ticks.time * (1 + drift * 1e-6) + latency
    assert (ticks.stamp - said).abs().max() <= min(6 * jitter, 0.45 / rate) + 1e-7  # jitter is float32
    assert (ticks.time.diff() > 0).all() and (ticks.stamp.diff() > 0).all()
    assert ticks.time.min() == 0 and 4.0 - 1.01 / rate <= ticks.time.max() < 4.0
    assert ticks.present.all()


def test_jitter_and_dropouts_have_the_stated_size():
    timing = Timing(100.0, jitter=1e-3, dropout=0.1)
    ticks = timing.ticks(20, 60.0, torch.Generator().manual_seed(0))
    assert abs(float((ticks.stamp - ticks.time).std()) / 1e-3 - 1) < 0.02
    assert abs(float(ticks.present.double().mean()) - 0.9) < 0.005


def test_a_clock_without_faults_is_true():
    ticks = Timing(200.0).ticks(1, 60.0, torch.Generator())
    assert torch.equal(ticks.time, ticks.stamp) and ticks.time.shape == (1, 12_000)


def test_impossible_clocks_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        Timing(1.0, offset=float("nan"))
    for wrong in ({"rate": 0.0}, {"rate": 1.0, "jitter": -1.0}, {"rate": 1.0, "dropout": 1.0}):
        with pytest.raises(ValueError, match="must be positive"):
            Timing(**wrong)
