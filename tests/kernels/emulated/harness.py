"""Run CUDA kernels on the CPU: the interface of `mambats_kernels.cuda.load`, for tests and for debugging."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from mambats_kernels import cuda
from mambats_kernels.cuda import Source
from tests.kernels.emulated.build import built, placed, text_of
from tests.kernels.emulated.memory import regions

# The limits of compute capability 9.0, so that what runs here can be launched there.
MOST_SHARED = 232_448
MOST_THREADS = 1024
MOST_CLUSTER = 8
FORWARD, REVERSE = 0, 1

_order = [FORWARD]
_checked = [True]


class EmulationError(RuntimeError):
    """What a kernel did that it may not do, with block, thread and line."""


@contextmanager
def thread_order(order: int) -> Iterator[None]:
    """Run the threads of every launch inside in that order: FORWARD, REVERSE, or mixed by a seed of 2 or more.

    A kernel without races gives the same bits in every order. Forward, asynchronous copies land as late as they may;
    in reverse, at once; mixed, some so and some so.
    """
    _order.append(order)
    try:
        yield
    finally:
        _order.pop()


@contextmanager
def unchecked() -> Iterator[None]:
    """Launch without watching memory: several times faster, and races and accesses out of bounds stay unseen."""
    _checked.append(False)
    try:
        yield
    finally:
        _checked.pop()


def _refuse(grid: tuple[int, int, int], threads: int, cluster: int, shared: int) -> None:
    if not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"{threads} threads a block: a GPU takes 1 to {MOST_THREADS}")
    if not 0 <= shared <= MOST_SHARED:
        raise ValueError(f"{shared} bytes of shared memory: a block gets at most {MOST_SHARED}")
    if not 1 <= cluster <= MOST_CLUSTER or grid[0] % cluster:
        raise ValueError(f"clusters of {cluster} along a grid of {grid[0]}: give 1 to {MOST_CLUSTER}, a divisor")
    if min(grid) < 1 or max(grid[1:]) > 65_535:
        raise ValueError(f"a grid of {grid}: each side is at least 1, the second and third at most 65535")


@dataclass(frozen=True)
class EmulatedKernel:
    """A kernel compiled for the CPU; stands where `mambats_kernels.cuda.Kernel` does."""

    library: ctypes.PyDLL  # holds the lock of the interpreter: one launch at a time, as its memory is the library's
    name: str
    shared: int
    registers: int = 0
    spilled: int = 0

    def launcher(
        self, grid: tuple[int, int, int], threads: int, cluster: int = 1
    ) -> Callable[[ctypes.Structure, int], None]:
        """A function of the argument structure and a stream, which is ignored: the kernel has run when it returns."""
        _refuse(grid, threads, cluster, self.shared)

        def launch(arguments: ctypes.Structure, stream: int) -> None:
            needed = self.library.emulated_size()
            if ctypes.sizeof(arguments) != needed:
                raise TypeError(
                    f"{self.name} takes {needed} bytes, {type(arguments).__name__} has {ctypes.sizeof(arguments)}: "
                    "its fields must mirror the kernel's struct"
                )
            self._watch(arguments)
            if self.library.emulate(ctypes.byref(arguments), *grid, threads, cluster, self.shared, _order[-1]):
                report = self.library.emulated_report().decode()
                raise EmulationError(f"kernel {self.name}: {placed(report, self.library._name)}")

        return launch

    def _watch(self, arguments: ctypes.Structure) -> None:
        known, whole = regions(arguments) if _checked[-1] else ([], False)
        self.library.emulated_watch(_checked[-1], not whole)
        for first, size, name in known:
            self.library.emulated_region(ctypes.c_void_p(first), ctypes.c_longlong(size), name.encode())


_loaded: dict[tuple[object, int], EmulatedKernel] = {}


def emulated_load(source: Source, device: int = 0, shared: int = 0) -> EmulatedKernel:
    """Compile a kernel for the CPU, once a session.

    Args:
        source: Its files, defines and name. `device.cuh` among the files is replaced by the emulator's words.
        device: Ignored: there is one machine.
        shared: Dynamic shared memory in bytes; exactly that much is there, filled with not-a-number.

    Raises:
        RuntimeError: If there is no C++ compiler or it refuses the source.
    """
    if (source, shared) not in _loaded:
        library = ctypes.PyDLL(str(built(text_of(source))))
        library.emulated_report.restype = ctypes.c_char_p
        _loaded[source, shared] = EmulatedKernel(library, source.name, shared)
    return _loaded[source, shared]


def emulate(patch: pytest.MonkeyPatch, *, processors: int = 132, capability: tuple[int, int] = (9, 0)) -> None:
    """Let the host side of the CUDA kernels launch the emulator instead, on CPU tensors, until the patch is undone.

    Args:
        patch: Undoes it.
        processors: Of the pretended GPU: few for large grids in one sweep, many so that time is cut into chunks.
        capability: Compute capability of the pretended GPU; clusters need (9, 0).
    """
    properties = SimpleNamespace(multi_processor_count=processors, major=capability[0], minor=capability[1])
    patch.setattr(cuda, "load", emulated_load)
    patch.setattr(cuda, "stream", lambda device: 0)
    patch.setattr(cuda, "obstacle", lambda device: None)
    patch.setattr(torch.cuda, "get_device_properties", lambda device=None: properties)
    patch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
