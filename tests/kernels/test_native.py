"""The native CPU library: every instruction set, any threads, random shapes and options, and what it leaves behind."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats_kernels import native, selective_scan, selective_step
from mambats_kernels.backend import use_backend
from mambats_kernels.native import build
from mambats_kernels.selective_scan import cases, reference
from mambats_kernels.selective_scan import native as scan

CPU = torch.device("cpu")
built = pytest.mark.skipif(native.library is None, reason=f"not built: {native.missing}")
LEVELS = {"baseline": 0, "avx2": 1, "avx512": 2}


@pytest.fixture
def level(request):
    if native.library.mambats_use_instructions(request.param):
        pytest.skip("this processor has no such instructions")
    yield request.param
    native.library.mambats_use_instructions(-1)


def outcome(operation, arguments, dtype):
    leaves = {
        name: value.detach().to(dtype).requires_grad_()
        for name, value in arguments.items()
        if torch.is_tensor(value) and value.is_floating_point()
    }
    y, final = operation(**{**arguments, **leaves})
    random = torch.Generator().manual_seed(7)
    weights = [torch.randn(v.shape, generator=random).to(v) for v in (y, final)]
    slopes = torch.autograd.grad((y * weights[0]).sum() + (final * weights[1]).sum(), list(leaves.values()))
    return {"y": y.detach(), "final": final.detach(), **dict(zip(leaves, slopes, strict=True))}


def errors(arguments):
    wanted = outcome(reference.selective_scan, arguments, torch.float64)
    with use_backend("native"):
        found = outcome(selective_scan, arguments, torch.float32)
    return {
        name: float((found[name].double() - value).norm() / value.norm()) if value.norm() > 0
        else float(found[name].abs().sum()) for name, value in wanted.items()
    }  # fmt: skip


@built
@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS, indirect=True)
@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_instruction_set_is_right(case, level):
    assert max(errors(case.make(4, torch.float32, CPU)).values()) < 5e-6


@built
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    rows=st.integers(1, 4), tokens=st.integers(1, 40), channels=st.integers(1, 37), groups=st.integers(1, 3),
    states=st.sampled_from([1, 2, 3, 8, 16, 17, 33]), packed=st.booleans(), plain=st.booleans(), hold=st.booleans(),
    reverse=st.booleans(), softplus=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_shape_and_option_is_right(
    rows, tokens, channels, groups, states, packed, plain, hold, reverse, softplus, seed
):
    random = torch.Generator().manual_seed(seed)
    lengths = tuple(torch.randint(0, 2 * tokens, (rows,), generator=random).tolist()) if packed else None
    tokens = sum(lengths) + seed % 3 + 1 if lengths is not None else tokens
    shape = (1 if packed else rows, tokens, channels * groups, states)
    arguments = cases.arguments(
        seed, torch.float32, CPU, shape=shape, groups=groups, plain=plain, lengths=lengths, hold=hold, reverse=reverse
    )
    if not softplus:
        arguments |= {"dt_softplus": False, "dt": arguments["dt"].abs() + 0.01}
        arguments |= {} if plain else {"dt_bias": arguments["dt_bias"].abs()}
    found = errors(arguments)
    assert not {name: error for name, error in found.items() if not error < 1e-5}


def token(groups, masked, dtype=torch.float32):
    made = cases.arguments(3, dtype, CPU, shape=(5, 1, 18, 7), groups=groups)
    mask = torch.tensor([True, False, True, True, False]) if masked else None
    first = {name: made[name][:, 0] for name in ("x", "dt", "B", "C", "z", "gaps")}
    if masked:
        first["x"][1] = torch.nan
    rest = {"dt_softplus": True, "mask": mask, **{name: made[name] for name in ("A", "D", "dt_bias")}}
    return {f"{'gap' if name == 'gaps' else name}_t": value for name, value in first.items()} | rest | {
        "state": made["initial_state"].mT.contiguous().mT
    }  # fmt: skip


@built
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("hold", [False, True], ids=["event", "hold"])
@pytest.mark.parametrize("groups", [None, 3])
def test_a_step_is_right(groups, hold, masked):
    made = {**token(groups, masked), "hold": hold}
    wide = {n: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for n, v in made.items()}
    before = made["state"].clone()
    with use_backend("native"):
        found = selective_step(**made)
    wanted = reference.selective_step(**wide)
    for one, other in zip(found, wanted, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-6
    assert torch.equal(made["state"], before)


@built
def test_a_step_keeps_the_dtype_and_leaves_transforms_to_torch():
    with use_backend("native"):
        made = token(None, False, torch.bfloat16)
        y, state = selective_step(**made)
        assert y.dtype == torch.bfloat16 and state.dtype == torch.float32
        made = token(None, False)
        rows = {name: made.pop(name) for name in ("x_t", "dt_t", "B_t", "C_t", "state", "z_t", "gap_t")}

        def one(**row):
            y, state = selective_step(**made, **{name: v.unsqueeze(0) for name, v in row.items()})
            return y[0], state[0]

        wanted = selective_step(**made, **rows)
        mapped = torch.vmap(lambda *given: one(**dict(zip(rows, given, strict=True))))(*rows.values())
        for other, value in zip(mapped, wanted, strict=True):
            torch.testing.assert_close(other, value)
        rows["state"].requires_grad_()
        assert selective_step(**made, **rows)[1].requires_grad


@built
@pytest.mark.parametrize("hold", [False, True], ids=["event", "hold"])
def test_extreme_numbers_are_right(hold):
    made = cases.arguments(1, torch.float32, CPU, shape=(2, 24, 19, 16), hold=hold)
    made["gaps"] = torch.tensor([0.0, 1e-30, 1e-6, 1.0, 1e3, 1e8]).repeat(2, 4)
    made["dt"][0, :, :4] = torch.tensor([-60.0, -20.0, 25.0, 80.0])
    assert max(errors(made).values()) < 5e-6


@built
def test_threads_change_no_bit():
    threads = torch.get_num_threads()
    try:
        for options in ({"groups": 2}, {"lengths": (200, 0, 300, 12), "reverse": True}):
            shape = (1 if "lengths" in options else 3, 520, 96, 16)
            made = cases.arguments(5, torch.float32, CPU, shape=shape, **options)
            with use_backend("native"):
                found = []
                for count in (1, 2, 3, 2):
                    torch.set_num_threads(count)
                    found.append(outcome(selective_scan, made, torch.float32))
            for other in found[1:]:
                assert all(torch.equal(found[0][name], other[name]) for name in other)
    finally:
        torch.set_num_threads(threads)


@built
def test_the_caller_keeps_small_numbers():
    with use_backend("native"):
        selective_scan(**cases.arguments(0, torch.float32, CPU))
    assert float(torch.tensor(1e-40) * torch.tensor(0.5)) > 0


@built
def test_few_states_are_saved():
    saved = []
    real = torch.autograd.graph.saved_tensors_hooks(lambda v: saved.append(v.numel()) or v, lambda v: v)
    made = cases.arguments(0, torch.float32, CPU, shape=(2, 400, 32, 16), plain=True)
    made["x"].requires_grad_()
    with real, use_backend("native"):
        selective_scan(**made)
    assert max(saved) == 2 * math.ceil(400 / scan.chunk(16)) * 16 * 32


@built
@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_operators_pass_opcheck(packed):
    made = cases.arguments(2, torch.float32, CPU, shape=(1, 9, 6, 3), groups=2, lengths=(4, 0, 5) if packed else None)
    names = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "gaps", "initial_state")
    tensors = [made[name].requires_grad_() for name in names]
    given = (*tensors, made["cu_seqlens"], True, True, packed, True)
    torch.library.opcheck(scan.scan_forward, given)
    given = tuple(v.detach() if torch.is_tensor(v) else v for v in given)
    y, final, saved = scan.scan_forward(*given)
    torch.library.opcheck(scan.scan_backward, (y, final, *given[:11], saved, True, True, packed, True))


@built
def test_bad_borders_cannot_leave_the_tensors():
    made = cases.arguments(0, torch.float32, CPU, shape=(1, 20, 6, 3), lengths=(5, 5, 5), plain=True)
    tensors = [made[name].nan_to_num() for name in ("x", "dt", "A")] + [
        made[name].nan_to_num().unsqueeze(2) for name in ("B", "C")
    ]
    for borders in ([0, 99, -5, 7], [-9, 3, 2, 1000], [7, 7, 1, 2]):
        given = (*tensors, None, None, None, None, None, torch.tensor(borders))
        y, final, saved = scan.scan_forward(*given, True, False, False, True)
        scan.scan_backward(y, final, *given, saved, True, False, False, True)


def test_without_a_compiler_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no C++ compiler" in build.build(tmp_path)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no headers here' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    assert "no headers here" in build.build(tmp_path) and not list(tmp_path.glob("*.so"))


def test_without_the_library_torch_takes_its_place(tmp_path):
    """A copy of the package as a wheel without compiler holds it."""
    package = Path(native.__file__).parent.parent
    for path in package.rglob("*.py"):
        target = tmp_path / package.name / path.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    code = (
        "import mambats_kernels, pytest, torch; from mambats_kernels.backend import *\n"
        "print(mambats_kernels.__file__, chosen_backend('selective_scan', 'cpu', torch.float32), explain_backend())\n"
        "use_backend('native').__enter__()"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "MAMBATS_BACKEND": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert str(tmp_path) in done.stdout and "__init__.py torch" in done.stdout and "native library: none" in done.stdout
    assert "ValueError: use_backend's name is 'native', but" in done.stderr and "C++ compiler" in done.stderr
