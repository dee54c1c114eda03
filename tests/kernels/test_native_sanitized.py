"""The native library under AddressSanitizer and UBSan: nothing is touched beside what it was given."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mambats
import mambats_kernels
from mambats_kernels.native import build

FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]
CALLS = Path(__file__).parent / "random_calls.py"


def runtime(words: list[str]) -> str | None:
    """Where the sanitizer's library is: it must be loaded before Python, and with it what C++ throws by.

    Without libstdc++ beside it, it ends the process at the first exception of any library, matplotlib's for one.
    """
    found = list[str]()
    for name in ("libasan.so", "libstdc++.so"):
        asked = subprocess.run([*words, f"-print-file-name={name}"], capture_output=True, text=True)
        found.append(asked.stdout.strip() if asked.returncode == 0 else "")
    return " ".join(found) if all(Path(path).is_absolute() for path in found) else None


@pytest.mark.slow
@pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler to build with")
def test_random_calls_are_clean(tmp_path):
    asan = runtime(build.compiler())
    if asan is None:
        pytest.skip("the compiler has no AddressSanitizer that can be loaded first")
    package = Path(mambats_kernels.__file__).parent
    copy = tmp_path / "mambats_kernels"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    assert build.build(copy / "native", FLAGS) is None
    environment = {
        **os.environ,
        "LD_PRELOAD": asan,
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(mambats.__file__).parent.parent)]),
        "PYTHONMALLOC": "malloc",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(CALLS), "30"], env=environment, capture_output=True, text=True, timeout=900, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert "clean 0" in done.stdout and "runtime error" not in done.stderr
