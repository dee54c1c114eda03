"""The scan's CUDA kernels at sizes that fill blocks, clusters and chunks: right, and bit-equal in every order."""

from functools import partial

import pytest
import torch

from mambats_kernels.selective_scan import cases
from mambats_kernels.selective_scan.cuda.op import cuda_scan
from mambats_kernels.selective_scan.cuda.scan import forget
from tests.kernels.emulated import FORWARD, REVERSE, compiler, emulate, thread_order
from tests.kernels.test_parity import outcome, relative

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler to build the emulator with")
CPU = torch.device("cpu")
ORDERS = (FORWARD, REVERSE, 2)
REFERENCE, TOLERANCE = cases.CASES[0].reference, cases.CASES[0].tolerance
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Whole tiles and odd ends, one pass over the states and several, clusters of two blocks, time in chunks.
MAKERS = {
    "wide": partial(cases.arguments, shape=(2, 150, 64, 16)),
    "passes": partial(cases.arguments, shape=(1, 70, 96, 33), reverse=True, hold=True),
    "groups": partial(cases.arguments, shape=(2, 70, 64, 64), groups=2),
    "packed": partial(cases.arguments, shape=(1, 100, 64, 16), lengths=(0, 20, 40, 1, 33)),
    "chunks": partial(cases.arguments, shape=(1, 600, 64, 16)),
    "packed chunks": partial(cases.arguments, shape=(1, 600, 64, 16), lengths=(0, 200, 40, 1, 303), reverse=True),
}


@pytest.fixture(autouse=True)
def emulator(monkeypatch):
    emulate(monkeypatch, processors=4)
    forget()
    yield
    forget()


def scan(x, dt, A, B, C, **options):
    absent = dict.fromkeys(("D", "z", "dt_bias", "gaps", "cu_seqlens", "initial_state"))
    return cuda_scan(x, dt, A, B, C, **{**absent, **options})


QUICK = ("packed", "bf16")
EVERY = [
    pytest.param(name, dtype, marks=() if (name, dtype) == QUICK else pytest.mark.slow)
    for name in MAKERS
    for dtype in DTYPES
]


@pytest.mark.parametrize(("name", "dtype"), EVERY)
def test_the_order_of_threads_does_not_matter(name, dtype):
    arguments = MAKERS[name](0, DTYPES[dtype], CPU)
    wanted, found = outcome(REFERENCE, arguments, torch.float64), []
    for order in ORDERS:
        with thread_order(order):
            found.append(outcome(scan, arguments))
    for name, value in wanted.items():
        assert relative(found[0][name], value) <= TOLERANCE[DTYPES[dtype]], name
        assert all(torch.equal(found[0][name], other[name]) for other in found[1:]), f"{name} hangs on the order"
