"""The Triton kernels against float64: by triton's interpreter in a process of its own, and on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mambats_kernels.selective_scan import cases as scan_cases
from mambats_kernels.selective_scan import reference
from mambats_kernels.selective_scan.triton import obstacle, op, triton_scan

CPU = torch.device("cpu")
INTERPRETED = op.INTERPRETED and op.INSTALLED
CASES = {case.name.partition("/")[2]: case for case in scan_cases.CASES}
HERE = CASES if INTERPRETED else {}
# The interpreter takes seconds a case: these meet most branches, the others are slow tests.
QUICK = "case_is_right and (full or groups or packed_hold_reverse) or half or borders or nothing"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="test_the_interpreter_finds_no_fault runs it")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}
OPTIONS = ("D", "z", "dt_bias", "gaps", "initial_state", "cu_seqlens")


def scan(**arguments):
    return triton_scan(**{**dict.fromkeys(OPTIONS), "dt_softplus": False, "hold": False, "reverse": False, **arguments})


def outcome(operation, arguments, dtype=None):
    """Output, final state and gradients by name, of a weighted sum whose weights are the same for all."""
    leaves = {
        name: value.detach().to(dtype or value.dtype).requires_grad_()
        for name, value in arguments.items()
        if torch.is_tensor(value) and value.is_floating_point()
    }
    y, final = operation(**{**arguments, **leaves})
    random = torch.Generator().manual_seed(7)
    weights = [torch.randn(v.shape, generator=random).bfloat16().to(v) for v in (y, final)]
    loss = sum((v * w).sum(dtype=torch.float64) for v, w in zip((y, final), weights, strict=True))
    slopes = torch.autograd.grad(loss, list(leaves.values()))
    return {"y": y.detach(), "final": final.detach()} | {
        f"d{name}": slope for name, slope in zip(leaves, slopes, strict=True)
    }


def relative(given, wanted):
    """Relative error in the Frobenius norm; nothing at all must be nothing at all."""
    size = wanted.norm()
    return float((given.double() - wanted).norm() / size) if size > 0 else float(given.abs().sum())


def errors(arguments):
    wanted, found = outcome(reference.selective_scan, arguments, torch.float64), outcome(scan, arguments)
    assert found.keys() == wanted.keys()
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert all(found[f"d{name}"].dtype == arguments[name].dtype for name in ("x", "A", "B"))
    return {name: relative(found[name], wanted[name]) for name in wanted}


def too_large(found, bound):
    return {name: error for name, error in found.items() if not error <= bound}


def extreme(device, hold):
    """Gaps from none to 1e8, step sizes from nothing to 80."""
    made = scan_cases.arguments(1, torch.float32, device, shape=(1, 12, 5, 3), hold=hold)
    made["gaps"] = torch.tensor([[0.0, 1e-30, 1e-6, 1.0, 1e3, 1e8] * 2], device=device)
    made["dt"][0, :, :4] = torch.tensor([-60.0, -20.0, 25.0, 80.0], device=device)
    return made


def positional(made):
    """Arguments of the operator, without its options; a tail of NaN becomes zeros."""
    made = {name: v.nan_to_num() if torch.is_tensor(v) and v.is_floating_point() else v for name, v in made.items()}
    names = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "gaps", "initial_state", "cu_seqlens")
    return [reference.grouped(made[name]) if name in ("B", "C") else made.get(name) for name in names]


def check_operators(device, packed):
    made = scan_cases.arguments(
        2, torch.float32, device, shape=(1, 5, 4, 2), groups=2, lengths=(2, 0, 2) if packed else None
    )
    given = [v.requires_grad_() if torch.is_tensor(v) and v.is_floating_point() else v for v in positional(made)]
    torch.library.opcheck(op.scan_forward, (*given, True, True, packed, True))
    given = [v.detach() if torch.is_tensor(v) else v for v in given]
    y, final, saved = op.scan_forward(*given, True, True, packed, True)
    torch.library.opcheck(op.scan_backward, (y, final, *given, saved, True, True, packed, True))


def test_it_says_what_is_missing(monkeypatch):
    obstacle.cache_clear()
    monkeypatch.setattr(op, "INTERPRETED", False)
    monkeypatch.setattr(op, "INSTALLED", True)
    assert "TRITON_INTERPRET=1" in (obstacle(CPU) or "")
    obstacle.cache_clear()
    monkeypatch.setattr(op, "INSTALLED", False)
    assert obstacle(CPU) == "triton is not installed"
    obstacle.cache_clear()


@pytest.mark.skipif(INTERPRETED, reason="this is that process")
@pytest.mark.skipif(not op.INSTALLED, reason="triton is not installed")
@pytest.mark.parametrize("chosen", [QUICK, pytest.param("", marks=pytest.mark.slow)], ids=["some", "all"])
def test_the_interpreter_finds_no_fault(chosen):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__)), "-k", chosen]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.mark.parametrize("name", HERE)
def test_every_case_is_right(name):
    assert not too_large(errors(CASES[name].make(0, torch.float32, CPU)), TOLERANCE[torch.float32])


@interpreted
@pytest.mark.parametrize(("name", "dtype"), [("hold_reverse", torch.bfloat16), ("packed", torch.float16)])
def test_half_precision_is_right(name, dtype):
    assert not too_large(errors(CASES[name].make(0, dtype, CPU)), TOLERANCE[dtype])


@interpreted
def test_two_runs_are_bit_equal():
    made = CASES["packed"].make(3, torch.float32, CPU)
    first, second = outcome(scan, made), outcome(scan, made)
    assert all(torch.equal(first[name], second[name]) for name in first)


@interpreted
@pytest.mark.parametrize("hold", [False, True], ids=["event", "hold"])
def test_extreme_numbers_are_right(hold):
    assert not too_large(errors(extreme(CPU, hold)), 5e-6)


@interpreted
@pytest.mark.parametrize("states", [16, 40])
def test_any_number_of_states_is_right(states):
    made = scan_cases.arguments(4, torch.float32, CPU, shape=(1, 6, 3, states))
    made |= {"dt_softplus": False, "dt": made["dt"].abs(), "dt_bias": made["dt_bias"].abs()}
    assert not too_large(errors(made), 1e-6)


@interpreted
def test_operators_pass_opcheck():
    check_operators(CPU, packed=True)


@interpreted
def test_bad_borders_cannot_leave_the_tensors():
    made = scan_cases.arguments(0, torch.float32, CPU, shape=(1, 10, 6, 3), lengths=(5, 5, 0), plain=True)
    for borders in ([0, 99, -5, 7], [-9, 3, 2, 1000]):
        given = [*positional(made)[:-1], torch.tensor(borders)]
        y, final, saved = op.scan_forward(*given, True, False, False, True)
        op.scan_backward(y, final, *given, saved, True, False, False, True)


@interpreted
@pytest.mark.parametrize("shape", [(0, 5), (3, 0)], ids=["no_rows", "no_tokens"])
def test_nothing_in_nothing_out(shape):
    made = scan_cases.arguments(0, torch.float32, CPU, shape=(shape[0], max(shape[1], 1), 4, 3))
    made = {n: v[:, : shape[1]] if n in ("x", "dt", "B", "C", "z", "gaps") else v for n, v in made.items()}
    found = outcome(scan, made)
    assert found["y"].shape == (*shape, 4) and torch.equal(found["final"], made["initial_state"])
    assert not found["dA"].any() and found["dB"].shape == made["B"].shape


GPU = torch.device("cuda")
SHAPES = {
    "odd": {"shape": (3, 517, 75, 16), "groups": 3},
    "one_state": {"shape": (2, 70, 40, 1)},
    "five_states": {"shape": (2, 70, 33, 5), "hold": True},
    "many_states": {"shape": (2, 130, 40, 64), "groups": 2},
    "most_states": {"shape": (2, 37, 24, 256)},
    "packed": {"shape": (1, 1000, 96, 16), "lengths": (300, 0, 1, 7, 640, 0), "hold": True, "reverse": True},
    "narrow_groups": {"shape": (2, 100, 24, 16), "groups": 24, "reverse": True},
}


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_every_case_is_right_on_a_gpu(name, dtype):
    assert not too_large(errors(CASES[name].make(0, dtype, GPU)), TOLERANCE[dtype])


@pytest.mark.gpu
def test_float16_is_right_on_a_gpu():
    assert not too_large(errors(CASES["packed_hold_reverse"].make(0, torch.float16, GPU)), TOLERANCE[torch.float16])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_larger_shapes_are_right_and_repeatable(options, dtype):
    made = scan_cases.arguments(1, dtype, GPU, **options)
    assert not too_large(errors(made), TOLERANCE[dtype])
    first, second = outcome(scan, made), outcome(scan, made)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 2.5e-3)], ids=["fp32", "bf16"])
def test_accuracy_is_that_of_the_rounding(dtype, bound):
    found = errors(scan_cases.arguments(5, dtype, GPU, shape=(2, 512, 64, 16)))
    sums = {name: found.pop(name) for name in ("dA", "dD", "ddt_bias")}
    assert not too_large(found, bound) and not too_large(sums, 1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("hold", [False, True], ids=["event", "hold"])
def test_extreme_numbers_are_right_on_a_gpu(hold):
    assert not too_large(errors(extreme(GPU, hold)), 5e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_operators_pass_opcheck_on_a_gpu(packed):
    check_operators(GPU, packed)


@pytest.mark.gpu
def test_nothing_waits_for_the_device():
    made = scan_cases.arguments(0, torch.bfloat16, GPU, shape=(1, 64, 32, 16), lengths=(20, 0, 40))
    outcome(scan, made)  # compiled by now
    leaves = {n: v.requires_grad_() for n, v in made.items() if torch.is_tensor(v) and v.is_floating_point()}
    ones = torch.ones_like(made["x"])
    torch.cuda.set_sync_debug_mode("error")
    try:
        y, _ = scan(**made)
        torch.autograd.grad(y, list(leaves.values()), ones)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_the_compiler_takes_it_whole():
    made = scan_cases.arguments(0, torch.float32, GPU, shape=(2, 40, 32, 16))
    wanted = outcome(scan, made)
    found = outcome(torch.compile(scan, fullgraph=True), made)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.gpu
def test_more_than_two_to_the_31_numbers():
    """The third row begins at 2**31: alone it must give the same bits."""
    shape = (3, 2**20, 1024)
    x, dt = (torch.randn(shape, device=GPU, dtype=torch.bfloat16) for _ in range(2))
    B, C = (torch.randn((*shape[:2], 1), device=GPU, dtype=torch.bfloat16) for _ in range(2))
    A = -torch.rand((1024, 1), device=GPU)
    found = []
    for rows in (slice(0, 3), slice(2, 3)):
        leaves = [v[rows].clone().requires_grad_() for v in (x, dt, B, C)]
        y, _ = scan(x=leaves[0], dt=leaves[1], A=A, B=leaves[2], C=leaves[3], dt_softplus=True)
        slopes = torch.autograd.grad(y, leaves, y.detach())
        found.append([v[-1].clone() for v in (y.detach(), *slopes)])
        del leaves, y, slopes
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
