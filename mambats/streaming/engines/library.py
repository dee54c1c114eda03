"""The native CPU library without torch: its file, past the package that loads torch.

`mambats_kernels` registers operators of torch when it is imported. A robot has no torch and needs only the library
beside it, whose functions `mambats.h` declares.

    python -m mambats.streaming.engines.library

prints the folder of header, library and C++ example, for a C++ project that links to them.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

LIBRARY = "libmambats_native.so"
#: Layout of `native.bin` that this version writes and the library must read: MAMBATS_FORMAT in `mambats.h`.
FORMAT = 1
_MODEL = ctypes.c_void_p
#: What each function takes and gives.
_FUNCTIONS = {
    "mambats_format": ([], ctypes.c_int),
    "mambats_read": ([ctypes.c_char_p, ctypes.c_int64, ctypes.c_char_p, ctypes.c_int64], _MODEL),
    "mambats_close": ([_MODEL], None),
    "mambats_facts": ([_MODEL, ctypes.c_void_p], None),
    "mambats_state_bytes": ([_MODEL, ctypes.c_int64], ctypes.c_int64),
    "mambats_step": ([_MODEL, ctypes.c_char_p], ctypes.c_int),
}


def native_folder() -> Path:
    """Return the folder of the library, of `mambats.h` and of the example.

    Raises:
        ValueError: If the package that holds it is not installed.
    """
    package = importlib.util.find_spec("mambats_kernels")  # looks, does not import
    if package is None or not package.submodule_search_locations:
        raise ValueError("mambats_kernels is not installed, which holds the native library: take the engine onnx.")
    return Path(next(iter(package.submodule_search_locations))) / "native"


@cache
def open_library() -> ctypes.CDLL:
    """Load the library once.

    Raises:
        ValueError: If it is not there, of another version, or for another processor; says what to do.
    """
    path = native_folder() / LIBRARY
    if not path.is_file():
        raise ValueError(
            f"{path} is not there: install the package with a C++ compiler on PATH, or take the engine onnx."
        )
    try:
        library = ctypes.CDLL(str(path))
        for name, (takes, gives) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = takes, gives
    except (OSError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be loaded, or is of another version: {error}. Install the package again, or take the "
            "engine onnx."
        ) from error
    if library.mambats_format() != FORMAT:
        raise ValueError(f"{path} is of another version: install the package again, or take the engine onnx.")
    return library


def missing() -> str:
    """Say why there is no library, or "" where there is one."""
    try:
        open_library()
    except ValueError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    print(native_folder())
