"""The scan's CUDA kernels on a CPU: every case, in the emulator, against the reference in float64."""

from types import SimpleNamespace

import pytest
import torch

from mambats_kernels import cuda
from mambats_kernels.selective_scan import cases, reference
from mambats_kernels.selective_scan.cuda import geometry, op, plan, scan
from tests.kernels.emulated.harness import emulated_load
from tests.kernels.test_parity import outcome, relative

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def emulator(monkeypatch):
    """Kernels are loaded into the emulator; the GPU has few processors, so that the sizes here fill or starve it."""
    plan.forward_plan.cache_clear()
    plan.backward_plan.cache_clear()
    monkeypatch.setattr(cuda, "load", emulated_load)
    monkeypatch.setattr(cuda, "stream", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=1))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    yield
    plan.forward_plan.cache_clear()
    plan.backward_plan.cache_clear()


def compare(arguments, bound, exact=None):
    wanted = outcome(reference.selective_scan, arguments, torch.float64)
    found = outcome(lambda **given: op.cuda_scan(**given), {**_OPTIONS, **arguments})
    errors = {name: relative(found[name], wanted[name]) for name in wanted}
    assert found.keys() == wanted.keys()
    assert not {name: error for name, error in errors.items() if not error <= bound}, errors


_OPTIONS = {
    "D": None, "z": None, "dt_bias": None, "dt_softplus": False, "gaps": None, "hold": False, "cu_seqlens": None,
    "initial_state": None, "reverse": False,
}  # fmt: skip


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_case(case):
    compare(case.make(0, torch.float32, CPU), 3e-6)
