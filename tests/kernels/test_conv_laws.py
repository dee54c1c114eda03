"""What must hold of the causal convolution whatever computes it."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mambats_kernels import causal_conv, causal_conv_step
from mambats_kernels.backend import BACKENDS, obstacle, use_backend
from mambats_kernels.causal_conv.cases import arguments

CPU = torch.device("cpu")
HERE = [name for name in BACKENDS["causal_conv"] if obstacle(name, CPU) is None]  # native where it was built


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", HERE)
def test_it_is_torch_s_depthwise_convolution(backend):
    whole = arguments(0, torch.float32, CPU, activation=None)
    line = torch.cat([whole["initial_state"], whole["x"]], 1).transpose(1, 2)
    wanted = F.conv1d(line, whole["weight"].unsqueeze(1), whole["bias"], groups=5).transpose(1, 2)
    with use_backend(backend):
        close(causal_conv(**whole)[0], wanted)
        close(causal_conv(**{**whole, "activation": "silu"})[0], F.silu(wanted))


@pytest.mark.parametrize("backend", HERE)
@given(cuts=st.lists(st.integers(0, 13), max_size=4), taps=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_any_chunking_equals_the_whole(backend, cuts, taps):
    whole = arguments(1, torch.float32, CPU, shape=(2, 13, 5, taps))
    with use_backend(backend):
        y, final = causal_conv(**whole)
        state, parts, edges = whole["initial_state"], [], [0, *sorted(cuts), 13]
        for lo, hi in pairwise(edges):
            part, state = causal_conv(**{**whole, "x": whole["x"][:, lo:hi], "initial_state": state})
            parts.append(part)
    close(torch.cat(parts, 1), y)
    assert torch.equal(state, final)


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_steps_equal_the_convolution(taps, backend):
    whole = arguments(2, torch.float32, CPU, shape=(2, 9, 5, taps))
    filters = {"weight": whole["weight"], "bias": whole["bias"], "activation": "silu"}
    with use_backend(backend):
        y, final = causal_conv(**whole)
        state = whole["initial_state"]
        for t in range(9):
            one, state = causal_conv_step(whole["x"][:, t], **filters, state=state)
            close(one, y[:, t])
    assert torch.equal(state, final)


def test_a_masked_row_keeps_its_state():
    whole = arguments(3, torch.float32, CPU)
    x = whole["x"][:, 0].clone()
    x[1] = torch.nan
    mask, before = torch.tensor([True, False]), whole["initial_state"]
    weight = whole["weight"].requires_grad_()
    y, state = causal_conv_step(x, weight, whole["bias"], state=before, activation="silu", mask=mask)
    assert not y[1].any() and torch.equal(state[1], before[1])
    close(y[:1], causal_conv(**{**whole, "x": whole["x"][:, :1]})[0][:1, 0])
    assert torch.equal(state[0, -1], x[0])
    assert torch.autograd.grad(y.sum(), weight)[0].isfinite().all()


@pytest.mark.parametrize("backend", HERE)
@given(lengths=st.lists(st.integers(0, 5), max_size=5), tail=st.integers(0, 3), reverse=st.booleans())
@settings(max_examples=25, deadline=None)
def test_packed_equals_each_alone(backend, lengths, tail, reverse):
    tokens = sum(lengths) + tail
    if tokens == 0:
        return
    packed = arguments(4, torch.float32, CPU, shape=(1, tokens, 4, 4), lengths=tuple(lengths), reverse=reverse)
    with use_backend(backend):
        y, final = causal_conv(**packed)
        assert not y[:, sum(lengths) :].any()
        lo = 0
        for row, length in enumerate(lengths):
            alone = {**packed, "x": packed["x"][:, lo : lo + length], "cu_seqlens": None}
            one, state = causal_conv(**{**alone, "initial_state": packed["initial_state"][row : row + 1]})
            close(y[:, lo : lo + length], one)
            assert torch.equal(final[row : row + 1], state)
            lo += length


@pytest.mark.parametrize("backend", HERE)
def test_reverse_is_flipping_time(backend):
    whole = arguments(5, torch.float32, CPU)
    with use_backend(backend):
        y, final = causal_conv(**{**whole, "reverse": True})
        other, state = causal_conv(**{**whole, "x": whole["x"].flip(1)})
    close(other.flip(1), y)
    assert torch.equal(state, final)


@pytest.mark.parametrize("backend", HERE)
def test_nothing_comes_from_the_future(backend):
    whole = arguments(6, torch.float32, CPU)
    changed = {**whole, "x": whole["x"].clone()}
    changed["x"][:, 7:] = 5.0
    with use_backend(backend):
        y, other = causal_conv(**whole)[0], causal_conv(**changed)[0]
    assert torch.equal(y[:, :7], other[:, :7]) and not torch.equal(y[:, 7:], other[:, 7:])
