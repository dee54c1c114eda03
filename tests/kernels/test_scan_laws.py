"""What must hold of the selective scan whatever computes it: chunks, steps, packing, direction, time."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats_kernels import selective_scan, selective_step
from mambats_kernels.backend import use_backend
from mambats_kernels.selective_scan.cases import arguments

CPU = torch.device("cpu")
IN_TIME = ("x", "dt", "B", "C", "z", "gaps")
BACKENDS = ["torch", "reference"]


def between(given_arguments, lo, hi):
    return {n: v[:, lo:hi] if n in IN_TIME else v for n, v in given_arguments.items()}


def close(found, wanted, bound=1e-5):
    assert found.shape == wanted.shape
    found, wanted = found.detach(), wanted.detach()
    assert float((found - wanted).abs().max()) <= bound * float(wanted.abs().max().clamp(min=1e-3))


@pytest.mark.parametrize("backend", BACKENDS)
@given(cuts=st.lists(st.integers(0, 13), max_size=4), hold=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_any_chunking_equals_the_whole(backend, cuts, hold, seed):
    whole = arguments(seed, torch.float32, CPU, hold=hold)
    with use_backend(backend):
        y, final = selective_scan(**whole)
        state, parts, edges = whole["initial_state"], [], [0, *sorted(cuts), 13]
        for lo, hi in pairwise(edges):
            part, state = selective_scan(**{**between(whole, lo, hi), "initial_state": state})
            parts.append(part)
    close(torch.cat(parts, 1), y)
    close(state, final)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_flow_through_a_carried_state(backend):
    whole = arguments(4, torch.float32, CPU)
    slopes = []
    with use_backend(backend):
        for edges in ([0, 13], [0, 1, 1, 6, 13]):
            x = whole["x"].clone().requires_grad_()
            state, loss = whole["initial_state"], 0.0
            for lo, hi in pairwise(edges):
                y, state = selective_scan(**{**between({**whole, "x": x}, lo, hi), "initial_state": state})
                loss = loss + y.square().sum()
            slopes.append(torch.autograd.grad(loss + state.square().sum(), x)[0])
    close(slopes[1], slopes[0])


def step_through(whole, mask=None):
    state, outputs = whole["initial_state"], []
    options = {name: whole[name] for name in ("D", "dt_bias", "dt_softplus", "hold")}
    for t in range(whole["x"].shape[1]):
        y, state = selective_step(
            whole["x"][:, t], whole["dt"][:, t], whole["A"], whole["B"][:, t], whole["C"][:, t], state=state,
            z_t=whole["z"][:, t], gap_t=whole["gaps"][:, t], mask=None if mask is None else mask[:, t], **options,
        )  # fmt: skip
        outputs.append(y)
    return torch.stack(outputs, 1), state


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("hold", [False, True])
def test_steps_equal_the_scan(hold, groups, dtype):
    whole = arguments(5, dtype, CPU, hold=hold, groups=groups)
    y, final = selective_scan(**whole)
    stepped, state = step_through(whole)
    assert stepped.dtype == dtype and state.dtype == final.dtype
    close(stepped.double(), y.double(), {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 8e-3}[dtype])
    close(state, final)


def test_a_masked_row_keeps_its_state_and_ignores_nan():
    whole = arguments(6, torch.float32, CPU)
    mask = torch.rand(2, 13, generator=torch.Generator().manual_seed(1)) < 0.6
    for name in ("x", "dt", "B", "C", "z", "gaps"):
        whole[name] = whole[name].clone()
        whole[name][~mask] = torch.nan
    weight = whole["A"].requires_grad_()
    y, state = step_through(whole, mask)
    assert not y[~mask].any()
    slope = torch.autograd.grad(y.sum() + state.sum(), weight)[0]
    assert slope.isfinite().all()
    for row in range(2):
        kept = {n: v[row : row + 1, mask[row]] if n in IN_TIME else v for n, v in whole.items()}
        alone, final = selective_scan(**{**kept, "initial_state": whole["initial_state"][row : row + 1]})
        close(y[row : row + 1, mask[row]], alone)
        close(state[row : row + 1], final)


@pytest.mark.parametrize("backend", BACKENDS)
@given(
    lengths=st.lists(st.integers(0, 5), max_size=5),
    tail=st.integers(0, 3),
    hold=st.booleans(),
    reverse=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_packed_equals_each_alone(backend, lengths, tail, hold, reverse):
    tokens = sum(lengths) + tail
    if tokens == 0:
        return
    packed = arguments(
        7, torch.float32, CPU, shape=(1, tokens, 4, 3), lengths=tuple(lengths), groups=2, hold=hold, reverse=reverse
    )
    with use_backend(backend):
        y, final = selective_scan(**packed)
        assert not y[:, sum(lengths) :].any()
        lo = 0
        for row, length in enumerate(lengths):
            alone = {**between(packed, lo, lo + length), "cu_seqlens": None}
            alone["initial_state"] = packed["initial_state"][row : row + 1]
            one, state = selective_scan(**alone)
            if length:
                close(y[:, lo : lo + length], one)
            close(final[row : row + 1], state)
            lo += length


def flipped_gaps(gaps):
    return torch.cat([torch.ones_like(gaps[:, :1]), gaps.flip(1)[:, :-1]], 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hold", [False, True])
def test_reverse_is_flipping_time(backend, hold):
    whole = arguments(8, torch.float32, CPU, hold=hold)
    with use_backend(backend):
        y, final = selective_scan(**{**whole, "reverse": True})
        flipped = {n: v.flip(1) if n in IN_TIME else v for n, v in whole.items()}
        flipped["gaps"] = flipped_gaps(whole["gaps"])
        other, state = selective_scan(**flipped)
    close(other.flip(1), y)
    close(state, final)


def test_gaps_of_one_are_the_published_model():
    whole = arguments(9, torch.float32, CPU)
    y, _ = selective_scan(**{**whole, "gaps": torch.ones(2, 13)})
    plain, _ = selective_scan(**{**whole, "gaps": None})
    assert torch.equal(y, plain)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_held_input_is_exact_at_any_rate(backend):
    """A constant input over one gap of 2000 gives the state of the same input in 2000 gaps of 1."""
    whole = {**arguments(10, torch.float32, CPU, shape=(1, 1, 4, 3), hold=True), "z": None, "D": None}
    with use_backend(backend):
        _, wanted = selective_scan(**{**whole, "gaps": torch.full((1, 1), 2000.0)})
        often = {n: v.expand(-1, 2000, *v.shape[2:]) if n in ("x", "dt", "B", "C") else v for n, v in whole.items()}
        _, found = selective_scan(**{**often, "gaps": torch.ones(1, 2000)})
    close(found, wanted, 1e-4)
    assert float(wanted.abs().max()) < 1e3  # Euler's delta * gap * B x would have left for thousands


@pytest.mark.parametrize("backend", BACKENDS)
def test_hold_has_its_limit_where_the_rate_vanishes(backend):
    whole = arguments(11, torch.float32, CPU, hold=True)
    found = []
    with use_backend(backend):
        for rate in (0.0, -1e-30, -1e-12, -1e-7):
            found.append(selective_scan(**{**whole, "A": torch.full_like(whole["A"], rate)})[0])
    for other in found[:-1]:
        assert other.isfinite().all()
        close(other, found[-1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_comes_from_the_future(backend, reverse):
    whole = arguments(12, torch.float32, CPU, reverse=reverse)
    changed = {**whole, **{n: whole[n].clone() for n in IN_TIME}}
    seen, unseen = (slice(7, 13), slice(0, 6)) if reverse else (slice(0, 7), slice(7, 13))
    for name in IN_TIME:
        changed[name][:, unseen] = 5.0
    with use_backend(backend):
        y, other = selective_scan(**whole)[0], selective_scan(**changed)[0]
    assert torch.equal(y[:, seen], other[:, seen])
    assert not torch.equal(y[:, unseen], other[:, unseen])


def test_no_memory_without_gradients():
    from mambats_kernels.selective_scan.op import scan_forward

    span, b = torch.rand(2, 512, 8), torch.randn(2, 512, 1, 4)
    for save in (False, True):
        saved = scan_forward(span, span, -torch.rand(8, 4), b, b, None, None, False, False, save)[2]
        assert bool(saved.numel()) == save
        assert saved.numel() <= 2 * 512 * 8 * 4 // 4  # a quarter of all states at most
