"""Every registered encoder keeps every law, at odd sizes, in both dtypes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.encoders import ENCODERS, PatchEncoder
from mambats.testing import check_chunks, check_encoder, check_removed, check_steps, draw_rows


@pytest.mark.parametrize("name", ENCODERS)
def test_every_law(name):
    check_encoder(lambda: ENCODERS[name](2, 5), batch=2, rows=9)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_law_in_float32(name):
    check_encoder(lambda: ENCODERS[name](1, 3), seed=1, batch=3, rows=7, dtype=torch.float32)


@pytest.mark.parametrize("name", ["causal", "causal_no_mixer", "bidirectional_lookahead"])
def test_patches_keep_the_laws_of_regular_rows(name):
    check_encoder(lambda: PatchEncoder(ENCODERS[name](3 * 2, 4), 3), batch=2, rows=13, regular=True)


@pytest.mark.parametrize("name", ENCODERS)
@settings(max_examples=8)
@given(data=st.data(), seed=st.integers(0, 99), length=st.integers(0, 9), batch=st.integers(0, 3))
def test_any_chunking_mask_and_gaps(name, data, seed, length, batch):
    torch.manual_seed(seed)
    encoder = ENCODERS[name](data.draw(st.integers(1, 3)), 4).double().eval()
    kept = data.draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    rows = draw_rows(seed, (batch, length, encoder.channels), flags=data.draw(st.booleans()), kept=kept)
    check_removed(encoder, rows)
    if encoder.causal:
        check_chunks(encoder, rows, sorted(data.draw(st.lists(st.integers(0, length), max_size=4))))
        check_steps(encoder, rows)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ENCODERS)
def test_every_law_on_a_gpu(name, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for before cuBLAS is repeatable
    check_encoder(lambda: ENCODERS[name](2, 5), batch=2, rows=9, device="cuda")
