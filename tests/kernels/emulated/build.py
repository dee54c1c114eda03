"""Compile kernels for the emulator: what NVRTC would get, with emulated.h in the place of device.cuh."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import mambats_kernels
from mambats_kernels.cuda import Source

HERE = Path(__file__).parent
KERNELS = Path(mambats_kernels.__file__).parent
RUNTIME = ("machine.cpp", "barriers.cpp", "checks.cpp")
# Contraction off: the same numbers on every machine. No exceptions: threads are abandoned, not unwound, after an error.
# No fortification: it takes a jump to another fiber's stack for an attack, and some systems have it on.
FLAGS = (
    *("-std=c++17", "-fPIC", "-w", "-ffp-contract=off", "-fno-exceptions", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE"),
    f"-I{HERE}",
)
# The compiler's own runtimes are not linked: checks.cpp receives the calls. At -O1 the largest takes 1.5 s.
CHECKED = ("-O1", "-g1", "-fsanitize=thread,alignment,bounds")
# So that a launch finds the kernel's parameter without knowing its type.
END = """
template <class A> static void emulated_call(void (*kernel)(A), const void* a) {{ kernel(*(const A*)a); }}
template <class A> static constexpr int emulated_size_of(void (*)(A)) {{ return sizeof(A); }}
void emulated::enter(const void* arguments) {{ emulated_call({name}, arguments); }}
const int emulated::arguments_size = emulated_size_of({name});
"""


def compiler() -> str | None:
    """The C++ compiler that `CXX` names, else g++ or clang++; None without one, or where Linux is not."""
    if sys.platform != "linux":
        return None
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


def text_of(source: Source) -> str:
    """The text of one translation unit; `#line` keeps the places that errors name those of the kernel's own files."""
    parts = ['#include "emulated.h"', *(f"#define {name} {value}" for name, value in source.defines)]
    parts.append('#include "cluster.h"')
    for name in source.files:
        if Path(name).name != "device.cuh":
            parts += [f'#line 1 "{name}"', (KERNELS / name).read_text()]
    return "\n".join([*parts, '#line 1 "emulated launcher"', END.format(name=source.name)])


@cache
def built(text: str) -> Path:
    """The library made of that text.

    Raises:
        RuntimeError: If there is no compiler, or it refuses the text; its words are in the message.
    """
    runtime = [_made(f"{name}.o", (HERE / name).read_text(), "-O2", "-c") for name in RUNTIME]
    # g++ looks for this file by itself and saves 0.2 s a kernel; clang++ passes it by.
    _made("emulated.h.gch", "", *CHECKED, "-x", "c++-header", str(HERE / "emulated.h"))
    stem = hashlib.sha256(text.encode()).hexdigest()[:16]
    kernel = _made(f"{stem}.o", text, *CHECKED, "-c")
    return _made(f"{stem}.so", "", "-shared", "-Wl,-Bsymbolic", str(kernel), *map(str, runtime))


def placed(report: str, library: str) -> str:
    """The report with files and lines for the @numbers@, which are places in the library's code."""

    def lines(number: re.Match[str]) -> str:
        words = ["addr2line", "-i", "-e", library, number[1]]
        if shutil.which(words[0]) is None:
            return f"0x{number[1]} of the compiled kernel"
        places = subprocess.run(words, capture_output=True, text=True).stdout.splitlines()
        places = [place.removeprefix(f"{KERNELS}/").partition(" (")[0] for place in places]  # "(discriminator 1)"
        named = [place for place in places if not re.search(r"\.h:|\?", place)]
        return ", called at ".join(named) or "the kernel"

    return re.sub("@([0-9a-f]+)@", lines, report)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="emulated-")


@cache
def _folder() -> Path:
    """Where what was compiled is kept: for this process, or for good in the folder that MAMBATS_EMULATED names."""
    files = [path.read_text() for path in sorted(HERE.iterdir()) if path.suffix in (".h", ".cpp")]
    key = hashlib.sha256("\n".join([str(compiler()), *FLAGS, *CHECKED, *files]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("MAMBATS_EMULATED") or _temporary().name) / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _made(name: str, text: str, *words: str) -> Path:
    """The file of that name, made by the compiler of a text or, without one, of files; others find it whole or not."""
    program = compiler()
    if program is None:
        raise RuntimeError("no C++ compiler: install g++ or name one in CXX")
    made, started = _folder() / name, _folder() / f"{os.getpid()}.{name}"
    if made.exists():
        return made
    read = ("-x", "c++", "-") if text else ()
    command = [program, f"-I{_folder()}", *FLAGS, *words, *read, "-o", str(started)]
    ran = subprocess.run(command, cwd=KERNELS, input=text, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"the emulator's compiler refused the kernel:\n{ran.stderr}")
    started.replace(made)
    return made
