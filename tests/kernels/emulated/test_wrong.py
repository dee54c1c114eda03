"""The emulator refuses wrong kernels, in every order of the threads, and says which thread did what on which line."""

import ctypes
import re
from pathlib import Path

import pytest
import torch

from mambats_kernels.cuda import Source
from tests.kernels.emulated import FORWARD, REVERSE, EmulationError, compiler, emulated_load, thread_order, unchecked

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler to build the emulator with")
FILE = Path(__file__).with_name("wrong.cu")
SOURCE = Source(("cuda/device.cuh", str(FILE)), (("MAMBATS_CLUSTER", 2),), "wrong")


class Arguments(ctypes.Structure):
    _fields_ = [
        ("given", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("absent", ctypes.c_void_p),
        ("task", ctypes.c_int),
    ]


def run(task, blocks=1, cluster=1, shared=256, threads=64):
    given, output = torch.arange(64.0), torch.zeros(64)
    kernel = emulated_load(SOURCE, 0, shared)
    kernel.launcher((blocks, 1, 1), threads, cluster)(Arguments(given.data_ptr(), output.data_ptr(), None, task), 0)
    return output


def line(task):
    """Number of the line behind `case task:`, where the mistake is at the earliest."""
    text = FILE.read_text().split("\n")
    return next(number for number, words in enumerate(text, 1) if f"case {task}:" in words) + 1


@pytest.fixture(params=[FORWARD, REVERSE, 2], ids=["forward", "reverse", "mixed"])
def order(request):
    with thread_order(request.param):
        yield


def test_nothing_is_wrong_with_a_right_kernel(order):
    assert torch.equal(run(0), torch.arange(64.0).flip(0))


RACE = (
    "(reads|writes) 4 bytes at byte [0-9]+ of shared memory, which block .*(wrote|read) at .*, with no barrier between"
)
MISTAKES = {
    1: RACE,
    2: RACE,
    3: "writes 4 bytes at byte 0 of shared memory, which block .* wrote at .*with no barrier between",
    5: r"writes 4 bytes at byte 256 of shared memory \(256 bytes\): out of bounds",
    6: r"reads 4 bytes at byte 256 of given \(256 bytes\): out of bounds",
    7: r"writes 4 bytes at byte -4 of output \(256 bytes\): out of bounds",
    8: "reads 4 bytes at byte [0-9]+ of shared memory before the copy to it was waited for",
    9: "(reads|writes) 4 bytes at byte [0-9]+ of shared memory",
    10: "reads 4 bytes at byte [0-9]+ of shared memory before the copy to it was waited for",
    11: r"reads 4 bytes at byte 256 of given \(256 bytes\): out of bounds",
    12: "a copy goes to a place that is not aligned to its size",
    13: "(returned while lanes of its warp wait in an exchange|needs all 32 lanes of the warp, but some have returned)",
    14: r"the lanes of one warp parted: others wait in an exchange at .*wrong.cu:\d+",
    15: r"deadlock .*31 threads wait in __syncwarp .*, 1 threads wait in __syncthreads",
    16: r"threads of one block wait at two places: the first came to .*wrong.cu:\d+",
    17: "is not aligned",
    18: "index [0-9]+ is outside the array",
    20: "reads from an address near 0: an argument that is absent",
    21: "cluster_wait without cluster_arrive",
}


@pytest.mark.parametrize("task", MISTAKES)
def test_mistakes_are_reported(task, order):
    with pytest.raises(EmulationError) as caught:
        run(task)
    message = str(caught.value)
    assert re.search(MISTAKES[task], message), message
    places = [int(number) for number in re.findall(r"wrong\.cu:(\d+)", message)]
    assert places and all(line(task) <= place <= line(task) + 5 for place in places), message


def test_blocks_race(order):
    with pytest.raises(
        EmulationError, match=r"of output, which another block wrote at \S*wrong.cu:\d+, with no barrier"
    ):
        run(4, blocks=2)
    assert torch.equal(run(4), torch.arange(64.0))


CLUSTER_MISTAKES = {
    22: "into another block that has not started|another block of the cluster found it finished|never followed by",
    23: "(reads 4|writes 16) bytes at byte 0 of shared memory, which block .* (wrote|read) .*with no barrier between",
    24: "a store into another block of the cluster found it finished|was never followed by a cluster barrier",
}


@pytest.mark.parametrize("task", CLUSTER_MISTAKES)
def test_mistakes_of_clusters_are_reported(task, order):
    with pytest.raises(EmulationError, match=CLUSTER_MISTAKES[task]):
        run(task, blocks=2, cluster=2, threads=32)


def test_unwatched_mistakes_show_in_the_numbers():
    with unchecked():
        found = {}
        for order in (FORWARD, REVERSE):
            with thread_order(order):
                found[order] = run(1)
        assert not torch.equal(found[FORWARD].nan_to_num(), found[REVERSE].nan_to_num())
        assert run(8).isnan().all()  # forward, a copy lands when it is waited for, here never
        assert run(19).isnan().all()
        with pytest.raises(EmulationError, match="touched shared memory 0 bytes past its end"):
            run(5)
        with pytest.raises(EmulationError, match="which is nobody's"):
            run(20)
    assert torch.equal(run(0), torch.arange(64.0).flip(0))  # an error leaves nothing behind


def test_impossible_launches_are_refused():
    for given in ({"threads": 1025}, {"shared": 232_464}, {"blocks": 3, "cluster": 2}, {"blocks": 0}):
        with pytest.raises(ValueError):
            run(0, **given)
    with pytest.raises(TypeError, match="wrong takes 32 bytes, c_int has 4|has 4"):
        emulated_load(SOURCE, 0, 256).launcher((1, 1, 1), 64)(ctypes.c_int(0), 0)
