"""Emulate the CUDA kernels on the CPU, so that machines without a GPU test the very files that run on one."""

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
