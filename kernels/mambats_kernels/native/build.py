"""Build the native CPU library with the system's C++ compiler; needs nothing but Python.

    python kernels/mambats_kernels/native/build.py

puts it beside this file, for use from a checkout. `setup.py` calls `build` for wheels and editable installs. Without a
compiler the package works all the same, on torch operations.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = "libmambats_native.so"
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-ffp-contract=fast", "-pthread"]
HOSTS = ["scan.cpp", "conv.cpp", "stack.cpp"]
X86 = {
    "mambats_avx2": ["-mavx2", "-mfma"],
    "mambats_avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}


def compiler() -> list[str] | None:
    """Give the command of the C++ compiler: CXX if set, else c++, g++ or clang++; None if there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    for words in [named] if named else [["c++"], ["g++"], ["clang++"]]:
        if shutil.which(words[0]):
            return words
    return None


def build(folder: Path) -> str | None:
    """Compile the library into a folder; the old one stays until the new one is whole.

    Args:
        folder: Where the library is put.

    Returns:
        None if it is there, else the reason why not, as text.
    """
    words = compiler()
    if words is None:
        return "no C++ compiler: CXX is not set and there is no c++, g++ or clang++ on PATH"
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    units = [("kernels.cpp", ["-DMAMBATS_ISA=mambats_baseline"])]
    units += [("kernels.cpp", [f"-DMAMBATS_ISA={name}", *flags]) for name, flags in X86.items() if x86]
    units += [("dispatch.cpp", ["-DMAMBATS_X86"] if x86 else []), *((name, []) for name in HOSTS)]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        objects = [str(Path(made) / f"{k}.o") for k in range(len(units))]
        commands = [
            [*words, *FLAGS, *more, "-c", str(HERE / source), "-o", target]
            for (source, more), target in zip(units, objects, strict=True)
        ]
        commands.append([*words, "-shared", "-pthread", *objects, "-o", str(Path(made) / LIBRARY)])
        for command in commands:
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
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
