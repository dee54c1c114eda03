"""The native CPU library: found beside this file, loaded once, called through ctypes; nothing is compiled here."""

import ctypes
from pathlib import Path

from mambats_kernels.native.build import LIBRARY
from mambats_kernels.native.scan import Scan


def _load() -> tuple[ctypes.CDLL | None, str]:
    path = Path(__file__).resolve().parent / LIBRARY
    if not path.is_file():
        return None, f"{path} is not there: install the package with a C++ compiler on PATH, or run native/build.py"
    try:
        found = ctypes.CDLL(str(path))
        for name in ("mambats_scan_forward", "mambats_scan_backward"):
            function = getattr(found, name)
            function.argtypes, function.restype = [ctypes.POINTER(Scan)], ctypes.c_int
        found.mambats_use_instructions.argtypes, found.mambats_use_instructions.restype = [ctypes.c_int64], ctypes.c_int
        found.mambats_instructions.restype = ctypes.c_char_p
        if found.mambats_scan_size() != ctypes.sizeof(Scan):
            return None, f"{path} is of another version: install the package again, or run native/build.py"
    except (OSError, AttributeError) as error:
        return None, f"{path} cannot be loaded: {error}"
    return found, ""


# Once and at import: a compiled function could not look for it.
library, missing = _load()


def told() -> str:
    """Say which library was loaded and which instructions it uses, or why there is none."""
    if library is None:
        return f"native library: none ({missing})"
    return f"native library: {library._name}, instructions: {library.mambats_instructions().decode()}"
