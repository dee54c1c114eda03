"""The scan's CUDA kernels on a CPU, in the emulator: every case against float64, every way to cut time."""

from functools import partial

import pytest
import torch

from mambats_kernels.selective_scan import cases, reference
from mambats_kernels.selective_scan.cuda import cuda_scan, geometry, rows
from mambats_kernels.selective_scan.cuda.scan import forget
from tests.kernels.emulated import compiler, emulate
from tests.kernels.test_parity import outcome, relative

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler to build the emulator with")
CPU = torch.device("cpu")
ABSENT = dict.fromkeys(("D", "z", "dt_bias", "gaps", "cu_seqlens", "initial_state"))
BOUND = {torch.float32: 3e-6, torch.bfloat16: 2.5e-3}


def scan(x, dt, A, B, C, **options):
    return cuda_scan(x, dt, A, B, C, **{**ABSENT, **options})


@pytest.fixture
def emulator(monkeypatch):
    def prepare(processors=1):
        forget()
        emulate(monkeypatch, processors=processors)

    yield prepare
    forget()


def compare(arguments, dtype):
    wanted, found = outcome(reference.selective_scan, arguments, torch.float64), outcome(scan, arguments)
    errors = {name: relative(found[name], wanted[name]) for name in wanted}
    assert found.keys() == wanted.keys()
    assert not {name: error for name, error in errors.items() if not error <= BOUND[dtype]}


# Each compiles its own kernels, 2 to 5 s: the first three take most branches together.
QUICK = ("selective_scan/full", "selective_scan/packed_reverse", "selective_scan/odd")
EVERY = [pytest.param(c, marks=() if c.name in QUICK else pytest.mark.slow, id=c.name) for c in cases.CASES]


@pytest.mark.parametrize("case", EVERY)
def test_every_case(case, emulator):
    emulator()
    compare(case.make(0, torch.float32, CPU), torch.float32)


# What these sizes would not choose themselves: launches that follow each other, chunks side by side, states left out.
CUTS = {
    "whole": {},
    "sparse": {"sparse": True},
    "launches": {"launches": 3},
    "sparse launches": {"sparse": True, "launches": 2},
    "chunks": {"processors": 40},
    "sparse chunks in launches": {"sparse": True, "launches": 2, "processors": 40},
}
SHAPES = {
    "wide": partial(cases.arguments, shape=(2, 150, 64, 16)),
    "narrow": partial(cases.arguments, shape=(3, 20, 9, 16)),  # sums of a row are no whole number of 16 bytes
    "passes": partial(cases.arguments, shape=(1, 150, 40, 33)),
    "long": partial(cases.arguments, shape=(1, 600, 40, 16), lengths=(0, 200, 40, 1, 303)),
    "back": partial(cases.arguments, shape=(1, 600, 40, 16), lengths=(0, 200, 40, 1, 303), reverse=True),
}
QUICK_CUTS = (
    ("whole", "narrow", torch.float32),
    ("sparse launches", "wide", torch.bfloat16),
    ("sparse chunks in launches", "back", torch.float32),
)
MANY = [
    pytest.param(cut, shape, dtype, marks=() if (cut, shape, dtype) in QUICK_CUTS else pytest.mark.slow)
    for cut in CUTS
    for shape in SHAPES
    for dtype in BOUND
    if not (shape == "passes" and "sparse" in cut)
]


@pytest.mark.parametrize(("cut", "shape", "dtype"), MANY)
def test_every_cut(cut, shape, dtype, emulator, monkeypatch):
    emulator(CUTS[cut].get("processors", 1))
    monkeypatch.setattr(geometry, "launches", lambda shape: CUTS[cut].get("launches", 1))
    monkeypatch.setattr(rows, "SHORTEST", 2**40)  # packed sequences in one row with borders
    monkeypatch.setattr(geometry.Shape, "sparse", property(lambda shape: CUTS[cut].get("sparse", False)))
    compare(SHAPES[shape](0, dtype, CPU), dtype)
