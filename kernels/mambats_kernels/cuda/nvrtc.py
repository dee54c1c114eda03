"""NVIDIA's run-time compiler through ctypes: found where torch's wheels put it, or on the system."""

import ctypes
import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

# What the kernels are written in; no header is searched for: there are none.
OPTIONS = ("-std=c++17",)
LOG = 2000  # characters of the compiler's messages that an error carries


class Compiler:
    """NVRTC, loaded.

    Args:
        library: The shared library.

    Attributes:
        version: (major, minor).
        targets: Architectures it compiles for, ascending, 90 for compute capability 9.0.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        listed = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", listed)
        self.targets = tuple(sorted(listed))

    def target(self, capability: tuple[int, int]) -> str:
        """Name the architecture to build for: the device's own, or text for the driver if the device is newer.

        Args:
            capability: Compute capability, (9, 0).

        Returns:
            "sm_90" (a binary), or "compute_120" (PTX, which the driver translates when it loads it).

        Raises:
            RuntimeError: If every architecture it knows is newer than the device.
        """
        own = 10 * capability[0] + capability[1]
        if own in self.targets:
            return f"sm_{own}"
        older = [known for known in self.targets if known < own]
        if not older:
            raise RuntimeError(
                f"NVRTC {self.version} builds for {self.targets}, the device is {own}: update the other."
            )
        return f"compute_{older[-1]}"

    def build(self, text: str, target: str, name: str) -> bytes:
        """Compile to a binary (target "sm_..") or to PTX ("compute_..").

        Args:
            text: The whole source.
            target: As `target` gives it.
            name: Called so in messages.

        Raises:
            RuntimeError: If it does not compile; with the first 2000 characters of the messages.
        """
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
        try:
            options = [f"--gpu-architecture={target}".encode(), *(option.encode() for option in OPTIONS)]
            code = self._library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
            if code:
                log = self._bytes("nvrtcGetProgramLog", program).rstrip(b"\0").decode(errors="replace")
                raise RuntimeError(f"NVRTC {self.version} could not compile {name} for {target}:\n{log[:LOG]}")
            return self._bytes("nvrtcGetCUBIN" if target.startswith("sm_") else "nvrtcGetPTX", program)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, function: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{function}Size", program, ctypes.byref(size))
        held = ctypes.create_string_buffer(size.value)
        self._call(function, program, held)
        return held.raw

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise RuntimeError(f"{function} failed: {self._library.nvrtcGetErrorString(code).decode()}")


@functools.cache
def compiler() -> Compiler:
    """Load NVRTC once.

    Raises:
        OSError: If there is none that can be loaded; says why not.
    """
    problems: list[str] = []
    for path in _candidates():
        try:
            # Its built-ins are looked for by name only: loaded before, they are found wherever they lie.
            for builtins in sorted(path.parent.glob("libnvrtc-builtins.so.*")) if path.is_absolute() else ():
                ctypes.CDLL(str(builtins))
            return Compiler(ctypes.CDLL(str(path)))
        except (OSError, AttributeError, RuntimeError) as error:
            problems.append(f"{error}")
    raise OSError(f"no NVRTC, which torch's CUDA wheels bring (pip: nvidia-cuda-nvrtc): {'; '.join(problems)}")


def _candidates() -> Iterator[Path]:
    """Where it may lie: in NVIDIA's wheels, beside torch or Python, last wherever the system's loader looks."""
    packages = importlib.util.find_spec("nvidia")
    places = list(packages.submodule_search_locations or ()) if packages else []
    folders = [found for place in places for found in sorted(Path(place).resolve().glob("*/lib"))]
    folders += [Path(torch.__file__).resolve().parent / "lib", Path(sys.prefix) / "lib"]
    own = (torch.version.cuda or "13").partition(".")[0]  # torch's own first
    for major in dict.fromkeys((own, "13", "12")):
        name = f"libnvrtc.so.{major}"
        yield from (folder / name for folder in folders if (folder / name).is_file())
        yield Path(name)
