"""Build the native CPU library with the system's C++ compiler; needs nothing but Python.

    python kernels/mambats_kernels/native/build.py

puts it beside this file, for use from a checkout. `setup.py` calls `build` for wheels and editable installs. Without a
compiler the package works all the same, on torch operations.
"""

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = "libmambats_native.so"
FLAGS = [
    "-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-ffp-contract=fast", "-pthread",
    "-fno-math-errno", "-fno-trapping-math",  # 4 % of the scan's backward pass with GCC 12
]  # fmt: skip
TIMEOUT = 600  # seconds a unit: Zig first builds its own C++ library, two minutes on a busy machine
HOSTS = ["scan.cpp", "conv.cpp", "stack.cpp", "model.cpp", "forecast.cpp", "imu.cpp", "kalman.cpp"]
X86 = {
    "mambats_avx2": ["-mavx2", "-mfma"],
    "mambats_avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}


def compiler() -> list[str] | None:
    """Give the command of the C++ compiler; None if there is none.

    CXX if that is set, and nothing else then; else c++, g++ or clang++; else Zig from PyPI's `ziglang`, if this Python
    has it.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    for words in [named] if named else [["c++"], ["g++"], ["clang++"]]:
        if shutil.which(words[0]):
            return words
    return None if named or importlib.util.find_spec("ziglang") is None else [sys.executable, "-m", "ziglang", "c++"]


def platform_flags(words: list[str]) -> list[str]:
    """Give what a compiler needs to be told of the machine that the library is for."""
    if "ziglang" not in words:
        return []
    # Left alone, Zig compiles for this very processor and this very C library. torch needs glibc 2.28 itself.
    glibc = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
    return ["-target", f"{platform.machine()}-linux-gnu.2.28"] if glibc else ["-mcpu=baseline"]


def build(folder: Path, extra: Sequence[str] = ()) -> str | None:
    """Compile the library into a folder; the old one stays until the new one is whole.

    Args:
        folder: Where the library is put.
        extra: Further flags, such as those of a sanitizer.

    Returns:
        None if it is there, else the reason why not, as text.
    """
    words = compiler()
    if words is None:
        return "no C++ compiler: CXX names none, there is no c++, g++ or clang++ on PATH, and no ziglang package"
    words += platform_flags(words)
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    units = [("kernels.cpp", ["-DMAMBATS_ISA=mambats_baseline"])]
    units += [("kernels.cpp", [f"-DMAMBATS_ISA={name}", *flags]) for name, flags in X86.items() if x86]
    units += [("dispatch.cpp", ["-DMAMBATS_X86"] if x86 else []), *((name, []) for name in HOSTS)]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        objects = [str(Path(made) / f"{k}.o") for k in range(len(units))]
        commands = [
            [*words, *FLAGS, *extra, *more, "-c", str(HERE / source), "-o", target]
            for (source, more), target in zip(units, objects, strict=True)
        ]
        linked = [*words, *extra, "-shared", "-pthread", *objects]
        if sys.platform == "linux":
            exports = Path(made) / "exports"  # operators of a C++ library that is linked in must not be seen outside
            exports.write_text("{ global: mambats_*; local: *; };", encoding="utf-8")
            linked += [f"-Wl,--version-script={exports}", *([] if extra else ["-s"])]
        commands.append([*linked, "-o", str(Path(made) / LIBRARY)])
        for command in commands:
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"{command[0]} did not run: {error}"
            if done.returncode:
                return f"{shlex.join(command)} failed: {done.stderr.strip()[-800:]}"
        (Path(made) / LIBRARY).replace(folder / LIBRARY)
    return None


if __name__ == "__main__":
    problem = build(HERE)
    print(problem or f"built {HERE / LIBRARY}")
    sys.exit(problem is not None)
