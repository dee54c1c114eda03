"""Every registered mixer keeps every law, at odd sizes, in both dtypes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.mixers import MIXERS
from mambats.testing import check_chunks, check_mixer, check_packed, check_reverse, draw_rows


@pytest.mark.parametrize("name", MIXERS)
def test_every_law(name):
    check_mixer(lambda: MIXERS[name].build(5), batch=2, tokens=7)


@pytest.mark.parametrize("name", MIXERS)
def test_every_law_in_float32(name):
    check_mixer(lambda: MIXERS[name].build(3), seed=1, batch=3, tokens=6, dtype=torch.float32)


@pytest.mark.parametrize("name", MIXERS)
@settings(max_examples=8)
@given(data=st.data(), seed=st.integers(0, 99), length=st.integers(0, 9), batch=st.integers(0, 3))
def test_any_chunking_and_packing(name, data, seed, length, batch):
    torch.manual_seed(seed)
    mixer = MIXERS[name].build(data.draw(st.integers(1, 4))).double()
    rows = draw_rows(seed, (batch, length, mixer.width), gaps=data.draw(st.booleans()))
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=4)))
    check_chunks(mixer, rows, cuts)
    check_reverse(mixer, rows)
    if batch:
        check_packed(mixer, rows, [0, *(cuts or [length])])


@pytest.mark.gpu
@pytest.mark.parametrize("name", MIXERS)
def test_every_law_on_a_gpu(name, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for before cuBLAS is repeatable
    check_mixer(lambda: MIXERS[name].build(5), batch=2, tokens=7, device="cuda")
