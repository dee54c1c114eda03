"""Every case of every family: outputs, final states and all gradients of each back-end against float64."""

import pytest
import torch

from mambats_kernels import causal_conv, selective_scan
from mambats_kernels.backend import BACKENDS, obstacle, use_backend
from mambats_kernels.case import Case
from mambats_kernels.causal_conv import cases as conv_cases
from mambats_kernels.selective_scan import adjoint, chunked, op, tokens
from mambats_kernels.selective_scan import cases as scan_cases
from mambats_kernels.selective_scan.plan import Plan

CASES = [*scan_cases.CASES, *conv_cases.CASES]
CPU = torch.device("cpu")
HERE = [name for name in BACKENDS["selective_scan"] if obstacle(name, CPU) is None]  # native where it was built


def differentiable(arguments):
    return {name: value for name, value in arguments.items() if torch.is_tensor(value) and value.is_floating_point()}


def outcome(operation, arguments, dtype=None):
    """Output, final state and gradients by name, of a weighted sum whose weights are the same for all."""
    leaves = {
        name: value.detach().to(dtype or value.dtype).requires_grad_()
        for name, value in differentiable(arguments).items()
    }
    y, final = operation(**{**arguments, **leaves})
    random = torch.Generator().manual_seed(7)
    weights = [torch.randn(v.shape, generator=random).bfloat16().to(v) for v in (y, final)]  # the same in every dtype
    loss = sum((v * w).sum(dtype=torch.float64) for v, w in zip((y, final), weights, strict=True))
    slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    found = {"y": y, "final_state": final}
    found |= {f"d{name}": slope for name, slope in zip(leaves, slopes, strict=True) if slope is not None}
    return {name: value.detach() for name, value in found.items()}


def relative(given, wanted):
    """Relative error in the Frobenius norm; nothing at all must be nothing at all."""
    size = wanted.norm()
    return float((given.double() - wanted).norm() / size) if size > 0 else float(given.abs().sum())


def compare(case, dtype, backend, seed=0):
    arguments = case.make(seed, dtype, CPU)
    wanted = outcome(case.reference, arguments, torch.float64)
    with use_backend(backend):
        found = outcome(case.op, arguments)
    assert found.keys() == wanted.keys()
    bound = case.tolerance[dtype]
    errors = {name: relative(found[name], wanted[name]) for name in wanted}
    assert not {name: error for name, error in errors.items() if not error <= bound}
    assert all(bool(value.isfinite().all()) for value in found.values())


def test_case_names_are_unique():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_backend_is_right(case, dtype):
    for backend in (name for name in HERE if name in BACKENDS[case.family]):
        compare(case, dtype, backend)


# What a CPU would not choose by itself at these sizes: shares of rows, runs side by side, blocks that do not divide.
CUTS = {"shares": (1, 1, 3), "runs": (9, 4, 2), "runs_of_one": (9, 40, 1), "whole": (9, 1, 1000), "ragged": (2, 1, 5)}


def forced(rows, runs, block):
    def plan(device, batch, tokens, state):
        shared = min(rows, batch) if runs == 1 else batch
        length = -(-tokens // runs)
        return Plan(shared, runs, length, min(block, length))

    return plan


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("case", scan_cases.CASES, ids=lambda case: case.name)
def test_the_cut_does_not_matter(case, cut, monkeypatch):
    for module in (chunked, adjoint, op):
        monkeypatch.setattr(module, "plan", forced(*CUTS[cut]))
    compare(case, torch.float32, "torch", seed=1)


@pytest.mark.parametrize("case", scan_cases.CASES, ids=lambda case: case.name)
def test_the_way_that_never_reads_the_device_is_right(case, monkeypatch):
    monkeypatch.setattr(tokens, "on_cpu", lambda tensor: False)
    for module in (chunked, adjoint, op):
        monkeypatch.setattr(module, "plan", forced(9, 4, 2))
    compare(case, torch.float32, "torch", seed=2)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float64_runs_the_reference(case):
    arguments = case.make(2, torch.float64, CPU)
    with use_backend("torch"):
        y, final = case.op(**arguments)
    wanted = case.reference(**arguments)
    assert torch.equal(y, wanted[0]) and torch.equal(final, wanted[1])
    assert y.dtype == final.dtype == torch.float64


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_runs_are_bit_equal(case, backend):
    arguments = case.make(3, torch.float32, CPU)
    torch.use_deterministic_algorithms(True)
    try:
        with use_backend(backend):
            first, second = outcome(case.op, arguments), outcome(case.op, arguments)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_comparison_can_fail():
    case = scan_cases.CASES[1]

    def wrong(**arguments):
        y, final = selective_scan(**arguments)
        return y * 1.001, final

    broken = Case(case.name, case.family, case.make, wrong, case.reference, case.tolerance)
    with pytest.raises(AssertionError):
        compare(broken, torch.float32, "torch")


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)], ids=["no_rows", "no_tokens", "nothing"])
def test_nothing_in_nothing_out(shape, backend):
    batch, tokens = shape
    with use_backend(backend):
        arguments = scan_cases.arguments(0, torch.float32, CPU, shape=(batch, max(tokens, 1), 4, 3))
        arguments = {n: v[:, :tokens] if n in ("x", "dt", "B", "C", "z", "gaps") else v for n, v in arguments.items()}
        y, final = selective_scan(**arguments)
        assert y.shape == (batch, tokens, 4) and torch.equal(final, arguments["initial_state"])
        arguments = conv_cases.arguments(0, torch.float32, CPU, shape=(batch, max(tokens, 1), 4, 3))
        y, final = causal_conv(**{**arguments, "x": arguments["x"][:, :tokens]})
        assert y.shape == (batch, tokens, 4)
        assert tokens or torch.equal(final, arguments["initial_state"])


@pytest.mark.parametrize("backend", HERE)
def test_no_sequences_in_a_pack(backend):
    cu_seqlens = torch.zeros(1, dtype=torch.int64)
    with use_backend(backend):
        arguments = scan_cases.arguments(0, torch.float32, CPU, shape=(1, 5, 4, 3), lengths=())
        y, final = selective_scan(**{**arguments, "cu_seqlens": cu_seqlens})
        assert not y.any() and final.shape == (0, 4, 3)
        arguments = conv_cases.arguments(0, torch.float32, CPU, shape=(1, 5, 4, 3), lengths=())
        y, final = causal_conv(**{**arguments, "cu_seqlens": cu_seqlens})
        assert not y.any() and final.shape == (0, 2, 4)
