"""The convolution's CUDA kernels: emulated on the CPU always, and on a GPU where there is one."""

import pytest
import torch
from tests.kernels.emulated import FORWARD, REVERSE, compiler, emulated_load, thread_order

from mambats_kernels.causal_conv import reference
from mambats_kernels.causal_conv.cases import _MAKERS as MAKERS
from mambats_kernels.causal_conv.cases import arguments
from mambats_kernels.causal_conv.cuda import launch, plan
from mambats_kernels.causal_conv.cuda.op import conv_backward, conv_forward, cuda_conv, takes

CPU = torch.device("cpu")
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# One rounding to bfloat16 makes 1.7e-3, to float16 2.1e-4.
BOUNDS = {torch.float32: 1e-6, torch.bfloat16: 2.5e-3, torch.float16: 4e-4}


def run(**given):
    """`cuda_conv` with every option named."""
    options = {"bias": None, "activation": None, "cu_seqlens": None, "initial_state": None, "reverse": False}
    return cuda_conv(**{**options, **given})


def outcome(operation, given, dtype=None):
    """Output, final state and gradients by name, of a sum with the same weights in every dtype."""
    leaves = {
        name: value.detach().to(dtype or value.dtype).requires_grad_()
        for name, value in given.items()
        if torch.is_tensor(value) and value.is_floating_point()
    }
    y, final = operation(**{**given, **leaves})
    random = torch.Generator().manual_seed(7)
    weights = [torch.randn(v.shape, generator=random).bfloat16().to(v) for v in (y, final)]
    loss = sum((v * w).sum(dtype=torch.float64) for v, w in zip((y, final), weights, strict=True))
    slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    found = {"y": y, "final": final} | {f"d{n}": s for n, s in zip(leaves, slopes, strict=True) if s is not None}
    return {name: value.detach() for name, value in found.items()}


def relative(given, wanted):
    size = wanted.norm()
    return float((given.double() - wanted).norm() / size) if size > 0 else float(given.abs().sum())


def errors(given):
    """Relative errors of everything against the reference in float64."""
    wanted, found = outcome(reference.causal_conv, given, torch.float64), outcome(run, given)
    assert found.keys() == wanted.keys()
    assert all(bool(value.isfinite().all()) for value in found.values())
    return {name: relative(found[name], wanted[name]) for name in wanted}


def right(given):
    bound = BOUNDS[given["x"].dtype]
    assert not {name: error for name, error in errors(given).items() if not error <= bound}


@pytest.fixture
def emulated(monkeypatch):
    if compiler() is None:
        pytest.skip("the emulator needs a C++ compiler")
    for plans in (launch._forward, launch._backward):
        plans.clear()
    monkeypatch.setattr(plan, "load", emulated_load)
    monkeypatch.setattr(launch, "stream", lambda device: 0)
    yield
    for plans in (launch._forward, launch._backward):
        plans.clear()


SHORT = ("full", "reverse", "width_one", "wide_short_reverse", "packed", "packed_reverse")


@pytest.mark.parametrize("name", [n if n in SHORT else pytest.param(n, marks=pytest.mark.slow) for n in MAKERS])
def test_emulated_cases_are_right(emulated, name):
    right(MAKERS[name](0, torch.float32, CPU))
