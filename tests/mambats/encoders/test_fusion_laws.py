"""Every fusion encoder keeps every law, in both dtypes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.encoders.fusion import FUSION_ENCODERS, StreamFusion
from mambats.mixers import MIXERS
from mambats.testing import check_fusion_encoder, draw_streams
from mambats.testing.fusion import check_fusion_chunks, check_fusion_steps

STREAMS = {"imu": 2, "gnss": 3, "ask": 0}
ENCODERS = {name: lambda make=make: make(STREAMS, 4) for name, make in FUSION_ENCODERS.items()}
ENCODERS["stream_alone"] = lambda: StreamFusion({"imu": 2}, 4, 1, period_ns=10_000_000, mixer=MIXERS["mamba"])
# One of each way of working; what differs in a part alone is slow, as is the sequential float64 reference.
QUICK = ("event", "event_ahead", "stream_gated_hold", "stream_cross_scan", "estimate", "concatenation")


def slow_but(*quick):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in ENCODERS]


@pytest.mark.parametrize("name", slow_but("stream_gated_hold"))
def test_every_law(name):
    check_fusion_encoder(ENCODERS[name], batch=2, rows=3, dtype=torch.float64)


@pytest.mark.parametrize("name", slow_but(*QUICK))
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
