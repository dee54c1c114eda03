"""Every fusion encoder keeps every law, in both dtypes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.encoders.fusion import (
    EXCHANGES,
    BidirectionalEventFusion,
    BidirectionalStreamFusion,
    ConcatenationFusion,
    EstimateFusion,
    EventFusion,
    Shared,
    StreamFusion,
)
from mambats.mixers import MIXERS
from mambats.testing import check_fusion_encoder, draw_streams
from mambats.testing.fusion import check_fusion_chunks, check_fusion_steps

STREAMS = {"imu": 2, "gnss": 3, "ask": 0}
MIXER = MIXERS["mamba"]
PERIOD = 10_000_000
ENCODERS = {
    "event": lambda: EventFusion(STREAMS, 5, 2, period_ns=PERIOD, mixer=MIXER),
    "stream_shared": lambda: StreamFusion(STREAMS, 4, 2, period_ns=PERIOD, mixer=Shared(MIXERS["mamba_hold"])),
    "stream_alone": lambda: StreamFusion({"imu": 2}, 4, 1, period_ns=PERIOD, mixer=MIXER),
    "estimate": lambda: EstimateFusion(STREAMS, 4, 1, period_ns=PERIOD, mixer=MIXER),
    "concatenation": lambda: ConcatenationFusion(STREAMS, 5, 1, period_ns=PERIOD, clock="gnss", mixer=MIXER),
    "concatenation_grid": lambda: ConcatenationFusion(STREAMS, 5, 1, period_ns=PERIOD, clock="ask", mixer=MIXER),
    "event_both_ways": lambda: BidirectionalEventFusion(STREAMS, 4, 2, period_ns=PERIOD, mixer=MIXER),
    "event_ahead": lambda: BidirectionalEventFusion(STREAMS, 4, 2, period_ns=PERIOD, mixer=MIXER, lookahead=0.07),
    "stream_both_ways": lambda: BidirectionalStreamFusion(STREAMS, 4, 1, period_ns=PERIOD, mixer=MIXER),
    "stream_ahead": lambda: BidirectionalStreamFusion(STREAMS, 4, 2, period_ns=PERIOD, mixer=MIXER, lookahead=0.07),
} | {
    f"stream_{name}": lambda exchange=exchange: StreamFusion(
        STREAMS, 4, 2, period_ns=PERIOD, mixer=MIXER, exchange=exchange
    )
    for name, exchange in EXCHANGES.items()
}


QUICK = ("event", "stream_gated_hold")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ENCODERS])
def test_every_law(name):
    check_fusion_encoder(ENCODERS[name], batch=2, rows=3, dtype=torch.float64)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_law_in_float32(name):
    check_fusion_encoder(ENCODERS[name], seed=1, batch=2, rows=3, dtype=torch.float32)


@pytest.mark.parametrize("name", ["event", "stream_gated_hold", "estimate", "concatenation"])
@settings(max_examples=6)
@given(data=st.data(), seed=st.integers(0, 99), rows=st.integers(0, 8), batch=st.integers(1, 3))
def test_any_windows_masks_and_steps(name, data, seed, rows, batch):
    torch.manual_seed(seed)
    encoder = ENCODERS[name]().eval()
    kept = data.draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    window = draw_streams(seed, encoder.streams, batch=batch, rows=rows, kept=kept, dtype=torch.float32)
    cuts = sorted(data.draw(st.lists(st.integers(0, window.length_ns), max_size=4)))
    with torch.no_grad():
        check_fusion_chunks(encoder, window, cuts)
        check_fusion_steps(encoder, window)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ENCODERS)
def test_every_law_on_a_gpu(name, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for before cuBLAS is repeatable
    check_fusion_encoder(ENCODERS[name], batch=2, rows=5, dtype=torch.float32, device="cuda")
