"""Setuptools, and a C++ compiler from PyPI for machines that have none.

Pip asks here what it must install before it builds a wheel. Zig (100 MB to fetch) is asked for only where no compiler
is found, CXX names none and PyPI has it; it then builds the native CPU library as `native/build.py` says, in two to
three minutes instead of 10 seconds. `CXX=none pip install ...` goes without the library.
"""

import os
import platform
import runpy
import sys
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, str | list[str] | None] | None
# Where PyPI has a wheel of ziglang, and the library is known to build.
_ZIG = {("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64"), ("darwin", "arm64")}


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """Name what building a wheel needs."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_compiler()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """Name what an editable install needs."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_compiler()]


def _compiler() -> list[str]:
    build = runpy.run_path(str(Path(__file__).parent / "mambats_kernels" / "native" / "build.py"))
    here = (sys.platform, platform.machine())
    return [] if os.environ.get("CXX") or build["compiler"]() or here not in _ZIG else ["ziglang>=0.13"]
