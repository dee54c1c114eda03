"""The native convolution: every instruction set, random shapes and options, threads, steps, operators, bad borders."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats_kernels import causal_conv, causal_conv_step, native
from mambats_kernels.backend import use_backend
from mambats_kernels.causal_conv import cases, reference
from mambats_kernels.causal_conv import native as conv

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(native.library is None, reason=f"not built: {native.missing}")
LEVELS = {"baseline": 0, "avx2": 1, "avx512": 2}


@pytest.fixture
def level(request):
    if native.library.mambats_use_instructions(request.param):
        pytest.skip("this processor has no such instructions")
    yield request.param
    native.library.mambats_use_instructions(-1)


def outcome(operation, arguments, dtype):
    floats = {n: v for n, v in arguments.items() if torch.is_tensor(v) and v.is_floating_point()}
    leaves = {n: v.detach().to(dtype).requires_grad_() for n, v in floats.items()}
    y, final = operation(**{**arguments, **leaves})
    random = torch.Generator().manual_seed(7)
    weights = [torch.randn(v.shape, generator=random).to(v) for v in (y, final)]
    loss = (y * weights[0]).sum() + (final * weights[1]).sum()
    slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    slopes = [torch.zeros_like(v) if s is None else s for s, v in zip(slopes, leaves.values(), strict=True)]
    return {"y": y.detach(), "final": final.detach(), **dict(zip(leaves, slopes, strict=True))}


def errors(arguments):
    wanted = outcome(reference.causal_conv, arguments, torch.float64)
    with use_backend("native"):
        found = outcome(causal_conv, arguments, torch.float32)
    return {
        name: float((found[name].double() - value).norm() / value.norm()) if value.norm() > 0
        else float(found[name].abs().sum()) for name, value in wanted.items()
    }  # fmt: skip


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS, indirect=True)
@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_instruction_set_is_right(case, level):
    assert max(errors(case.make(4, torch.float32, CPU)).values()) < 1e-6


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    rows=st.integers(1, 4), tokens=st.sampled_from([1, 2, 5, 127, 128, 129, 131, 300]), channels=st.integers(1, 37),
    taps=st.integers(1, 9), packed=st.booleans(), plain=st.booleans(), reverse=st.booleans(), silu=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_shape_and_option_is_right(rows, tokens, channels, taps, packed, plain, reverse, silu, seed):
    random = torch.Generator().manual_seed(seed)
    lengths = tuple(torch.randint(0, 2 * tokens, (rows,), generator=random).tolist()) if packed else None
    tokens = sum(lengths) + seed % 3 + 1 if lengths is not None else tokens
    arguments = cases.arguments(
        seed, torch.float32, CPU, shape=(1 if packed else rows, tokens, channels, taps), plain=plain, lengths=lengths,
        reverse=reverse, activation="silu" if silu else None,
    )  # fmt: skip
    assert not {name: error for name, error in errors(arguments).items() if not error < 3e-6}


def test_more_taps_than_tokens_and_pieces():
    assert max(errors(cases.arguments(0, torch.float32, CPU, shape=(2, 200, 3, 150))).values()) < 3e-6


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("taps", [1, 3, 4, 7])
def test_a_step_is_right(taps, dtype, masked):
    made = cases.arguments(3, dtype, CPU, shape=(5, 1, 18, taps))
    x, state = made["x"][:, 0].clone(), made["initial_state"].mT.contiguous().mT
    mask, before = torch.tensor([True, False, True, True, False]) if masked else None, state.clone()
    if masked:
        x[1] = torch.nan
    given = {"weight": made["weight"], "bias": made["bias"], "state": state, "activation": "silu", "mask": mask}
    with use_backend("native"):
        y, new = causal_conv_step(x, **given)
    wanted, other = reference.causal_conv_step(x, **given)
    torch.testing.assert_close(y, wanted, rtol=1e-2 if dtype == torch.bfloat16 else 2e-6, atol=1e-6)
    assert y.dtype == new.dtype == dtype and torch.equal(new, other) and torch.equal(state, before)


def test_a_step_leaves_gradients_and_transforms_to_torch():
    made = cases.arguments(3, torch.float32, CPU, shape=(5, 1, 8, 4))
    x, state = made["x"][:, 0], made["initial_state"]
    with use_backend("native"):
        wanted = causal_conv_step(x, made["weight"], state=state)

        def one(x, state):
            y, new = causal_conv_step(x[None], made["weight"], state=state[None])
            return y[0], new[0]

        for found, other in zip(torch.vmap(one)(x, state), wanted, strict=True):
            torch.testing.assert_close(found, other)
        assert causal_conv_step(x, made["weight"].requires_grad_(), state=state)[0].requires_grad


def test_threads_change_no_bit():
    threads = torch.get_num_threads()
    try:
        for options in ({"shape": (3, 1500, 200, 4)}, {"shape": (1, 4000, 200, 4), "lengths": (900, 0, 3000, 12)}):
            made = cases.arguments(5, torch.float32, CPU, **options)
            with use_backend("native"):
                found = []
                for count in (1, 2, 3, 2):
                    torch.set_num_threads(count)
                    found.append(outcome(causal_conv, made, torch.float32))
            for other in found[1:]:
                assert all(torch.equal(found[0][name], other[name]) for name in other)
    finally:
        torch.set_num_threads(threads)


def test_extreme_numbers_are_right():
    made = cases.arguments(1, torch.float32, CPU, shape=(2, 24, 19, 4))
    made["x"][0, ::3] *= 1e4
    made["x"][1, ::2] *= 1e-30
    assert max(errors(made).values()) < 3e-6


@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_operators_pass_opcheck(packed):
    made = cases.arguments(2, torch.float32, CPU, shape=(1, 9, 6, 3), lengths=(4, 0, 5) if packed else None)
    tensors = [made[name].requires_grad_() for name in ("x", "weight", "bias", "initial_state")]
    given = (*tensors, made["cu_seqlens"], True, packed)
    torch.library.opcheck(conv.conv_forward, given)
    given = tuple(v.detach() if torch.is_tensor(v) else v for v in given)
    torch.library.opcheck(conv.conv_backward, (*conv.conv_forward(*given), *given))


def test_bad_borders_cannot_leave_the_tensors():
    made = cases.arguments(0, torch.float32, CPU, shape=(1, 20, 6, 3))
    for borders in ([0, 99, -5, 7], [-9, 3, 2, 1000], [7, 7, 1, 2]):
        given = (made["x"], made["weight"], None, None, torch.tensor(borders), True, False)
        y, final = conv.conv_forward(*given)
        conv.conv_backward(y, final, *given)
        assert bool(y.isfinite().all()) and final.shape == (3, 2, 6)
