"""The native CPU library: found beside this file, loaded once, called through ctypes; nothing is compiled here."""

import ctypes
from pathlib import Path

from mambats_kernels.native.build import LIBRARY
from mambats_kernels.native.conv import Conv
from mambats_kernels.native.imu import Imu
from mambats_kernels.native.kalman import Kalman
from mambats_kernels.native.scan import Scan
from mambats_kernels.native.stack import Stack

# The functions that take a block, and the function that says how large the library believes it to be.
_BLOCKS: dict[str, tuple[type[ctypes.Structure], tuple[str, ...]]] = {
    "mambats_scan_size": (Scan, ("mambats_scan_forward", "mambats_scan_backward")),
    "mambats_conv_size": (Conv, ("mambats_conv_forward", "mambats_conv_backward")),
    "mambats_imu_size": (Imu, ("mambats_imu_forward",)),
    "mambats_kalman_size": (Kalman, ("mambats_kalman_forward",)),
    "mambats_stack_size": (Stack, ("mambats_stack_derive",)),
}


def _load() -> tuple[ctypes.CDLL | None, str]:
    path = Path(__file__).resolve().parent / LIBRARY
    if not path.is_file():
        return None, f"{path} is not there: install the package with a C++ compiler on PATH, or run native/build.py"
    try:
        found = ctypes.CDLL(str(path))
        for size, (block, names) in _BLOCKS.items():
            if getattr(found, size)() != ctypes.sizeof(block):
                return None, f"{path} is of another version: install the package again, or run native/build.py"
            for name in names:
                function = getattr(found, name)
                function.argtypes, function.restype = [ctypes.POINTER(block)], ctypes.c_int
        found.mambats_kalman_step.argtypes = [ctypes.POINTER(Kalman), ctypes.c_int64, *[ctypes.c_void_p] * 6]
        found.mambats_kalman_step.restype = ctypes.c_int
        found.mambats_kalman_record.argtypes = [ctypes.POINTER(Kalman), *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 5]
        found.mambats_kalman_record.restype = ctypes.c_int
        found.mambats_stack_floats.argtypes, found.mambats_stack_floats.restype = (
            [ctypes.POINTER(Stack)],
            ctypes.c_int64,
        )
        found.mambats_stack_step.argtypes = [ctypes.POINTER(Stack), ctypes.c_void_p]
        found.mambats_use_instructions.argtypes, found.mambats_use_instructions.restype = [ctypes.c_int64], ctypes.c_int
        found.mambats_instructions.restype = ctypes.c_char_p
    except (OSError, AttributeError) as error:
        return None, f"{path} cannot be loaded, or is of another version: {error}; run native/build.py"
    return found, ""


# Once and at import: a compiled function could not look for it.
library, missing = _load()


def run(name: str, block: ctypes.Structure) -> None:
    """Call a function of the library; it holds neither the interpreter's lock nor any memory afterwards.

    Raises:
        RuntimeError: If there is no library.
        MemoryError: If its buffers found no memory.
    """
    if library is None:
        raise RuntimeError(f"the native back-end has no library: {missing}")
    if getattr(library, name)(block):
        raise MemoryError(f"{name} found no memory for its buffers: give fewer rows, or use_backend('torch').")


def told() -> str:
    """Say which library was loaded and which instructions it uses, or why there is none."""
    if library is None:
        return f"native library: none ({missing})"
    return f"native library: {library._name}, instructions: {library.mambats_instructions().decode()}"
