"""Emulate the CUDA kernels on the CPU, so that machines without a GPU test the very files that run on one.

Threads are fibers that run in turn, so that every run is the same; `thread_order` chooses the turns. Every access to
memory is watched: races, bounds, copies not waited for, with the lines of the .cu files. printf works in kernels.
MAMBATS_EMULATED names a folder in which compiled kernels are kept between runs.
"""

from tests.kernels.emulated.build import compiler
from tests.kernels.emulated.harness import (
    FORWARD,
    REVERSE,
    EmulatedKernel,
    EmulationError,
    emulate,
    emulated_load,
    thread_order,
    unchecked,
)

__all__ = [
    "FORWARD",
    "REVERSE",
    "EmulatedKernel",
    "EmulationError",
    "compiler",
    "emulate",
    "emulated_load",
    "thread_order",
    "unchecked",
]
