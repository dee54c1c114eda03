"""The native CPU library without torch: its file and the layout of its blocks, past the package that loads torch.

`mambats_kernels` registers operators of torch when it is imported. A robot has no torch and needs only the library
beside it and one small file that says how its blocks are laid out.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

LIBRARY = "libmambats_native.so"


@cache
def open_library() -> tuple[ctypes.CDLL, ModuleType]:
    """Load the library once.

    Returns:
        The library and the module of its blocks, `mambats_kernels.native.stack`.

    Raises:
        ValueError: If it is not there, of another version, or for another processor; says what to do.
    """
    package = importlib.util.find_spec("mambats_kernels")  # looks, does not import
    if package is None or not package.submodule_search_locations:
        raise ValueError("mambats_kernels is not installed, which holds the native library: take the engine onnx.")
    folder = Path(next(iter(package.submodule_search_locations))) / "native"
    path = folder / LIBRARY
    if not path.is_file():
        raise ValueError(
            f"{path} is not there: install the package with a C++ compiler on PATH, or take the engine onnx."
        )
    blocks = _load(folder / "stack.py")
    try:
        library = ctypes.CDLL(str(path))
        if library.mambats_stack_size() != ctypes.sizeof(blocks.Stack):
            raise ValueError(f"{path} is of another version: install the package again, or take the engine onnx.")
        block = ctypes.POINTER(blocks.Stack)
        library.mambats_stack_floats.argtypes, library.mambats_stack_floats.restype = [block], ctypes.c_int64
        library.mambats_stack_derive.argtypes, library.mambats_stack_derive.restype = [block], ctypes.c_int
        library.mambats_stack_step.argtypes, library.mambats_stack_step.restype = [block, ctypes.c_void_p], ctypes.c_int
    except (OSError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be loaded: {error}. Install the package again, or take the engine onnx."
        ) from error
    return library, blocks


def missing() -> str:
    """Say why there is no library, or "" where there is one."""
    try:
        open_library()
    except ValueError as error:
        return str(error)
    return ""


def _load(path: Path) -> ModuleType:
    name = "mambats_kernels_native_stack"  # not its own name: that would make Python look for the package
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not there: install the package again, or take the engine onnx.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
