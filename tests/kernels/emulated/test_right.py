"""The emulator runs right kernels as the GPU would: words against numpy and torch, in every order of the threads."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch

from mambats_kernels.cuda import Source
from tests.kernels.emulated import FORWARD, REVERSE, compiler, emulated_load, thread_order

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler to build the emulator with")
EXCHANGES, PRODUCTS, RING, NEIGHBOURS, CONVERSIONS = range(5)


class Arguments(ctypes.Structure):
    _fields_ = [
        ("input", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("bits", ctypes.c_void_p),
        ("task", ctypes.c_int),
        ("size", ctypes.c_int),
    ]


SOURCE = Source(("cuda/device.cuh", str(Path(__file__).with_name("right.cu"))), (("MAMBATS_CLUSTER", 4),), "right")


def run(task, given, outputs, *, grid=1, threads=64, cluster=1, shared=0):
    output, bits = torch.full((outputs,), -1.0), torch.zeros(2 * len(given), dtype=torch.int16)
    arguments = Arguments(given.data_ptr(), output.data_ptr(), bits.data_ptr(), task, len(given))
    emulated_load(SOURCE, 0, shared).launcher((grid, 1, 1), threads, cluster)(arguments, 0)
    return output, bits


@pytest.fixture(params=[FORWARD, REVERSE, 2, 3], ids=["forward", "reverse", "mixed", "mixed again"])
def order(request):
    with thread_order(request.param):
        yield


def test_lanes_exchange(order):
    given = torch.randn(64)
    output = run(EXCHANGES, given, 4 * 64)[0].view(4, 2, 32)
    warps, lanes = given.view(2, 32), torch.arange(32)
    assert torch.equal(output[0], warps[:, lanes ^ 5])
    assert torch.equal(output[1], warps[:, 7:8].expand(2, 32))
    assert torch.equal(output[2], (warps > 0).sum(1, keepdim=True).expand(2, 32))
    assert torch.equal(output[3], warps[:, torch.where(lanes < 3, lanes, lanes - 3)])


def truncated(values):
    return (values.numpy().view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def test_fragments_multiply():
    a, b, c = torch.randn(16, 8), torch.randn(8, 8), torch.randn(16, 8)
    given = torch.cat([a.flatten(), b.flatten(), c.flatten()])
    product, added = run(PRODUCTS, given, 256, threads=32)[0].view(2, 16, 8).numpy()
    expected = truncated(a) @ truncated(b)
    assert np.array_equal(product, expected.astype(np.float32))
    assert np.allclose(added, expected + c.numpy(), rtol=0, atol=1e-6)
    assert abs(product - (a.double() @ b.double()).numpy()).max() > 1e-4  # the truncation can be seen


@pytest.mark.parametrize("size", [4, 256, 1000])
def test_copies_and_barriers(order, size):
    given = torch.randn(size)
    output, _ = run(RING, given, 64, shared=2 * 64 * 16)
    padded = torch.cat([given, torch.zeros(-size % 256)]).view(-1, 64, 4)
    assert torch.allclose(output, padded.sum((0, 2)).roll(-1), atol=1e-5)


def test_blocks_of_a_cluster_meet(order):
    given = torch.randn(8)
    output, _ = run(NEIGHBOURS, given, 8, grid=8, threads=32, cluster=4, shared=16)
    assert torch.equal(output, given.view(2, 4).roll(1, 1).flatten())


def test_half_precisions_round_as_torch_does():
    every = torch.arange(65536, dtype=torch.int32).to(torch.int16)
    wide_bf16, wide_fp16 = every.view(torch.bfloat16).float(), every.view(torch.float16).float()
    # Each value, the middle to its neighbour, and a bit to either side of that; and any bits.
    bits = wide_fp16.view(torch.int32)
    patterns = [bits, bits + 4096, bits + 4095, bits + 4097, wide_bf16.view(torch.int32) + 32768]
    patterns.append(torch.randint(-(2**31), 2**31 - 1, (100_000,), dtype=torch.int32))
    given = torch.cat(patterns).view(torch.float32)
    output, narrow = run(CONVERSIONS, given, 2 * 65536, grid=-(-len(given) // 1024), threads=1024)
    for got, expected in zip(output.view(2, -1), (wide_bf16, wide_fp16), strict=True):
        assert torch.equal(got.isnan(), expected.isnan())
        assert torch.equal(got.nan_to_num().view(torch.int32), expected.nan_to_num().view(torch.int32))
    for got, dtype in zip(narrow.view(2, -1), (torch.bfloat16, torch.float16), strict=True):
        expected = given.to(dtype)
        assert torch.equal(got.view(dtype).isnan(), expected.isnan())
        number = ~expected.isnan()
        assert torch.equal(got[number], expected.view(torch.int16)[number])
