"""Compile kernels for the emulator: what NVRTC would get, with emulated.h in the place of device.cuh."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import mambats_kernels

HERE = Path(__file__).parent
KERNELS = Path(mambats_kernels.__file__).parent
RUNTIME = ("machine.cpp", "barriers.cpp", "checks.cpp")
# Contraction off: the same numbers on every machine. No exceptions: threads are abandoned, not unwound, after an error.
FLAGS = ("-std=c++17", "-fPIC", "-w", "-ffp-contract=off", "-fno-exceptions", "-fno-strict-aliasing", f"-I{HERE}")
# The compiler's own runtimes are not linked: checks.cpp receives the calls.
CHECKED = ("-g1", "-fsanitize=thread,alignment,bounds")
# So that a launch finds the kernel's parameter without knowing its type.
END = """
template <class A> static void emulated_call(void (*kernel)(A), const void* a) {{ kernel(*(const A*)a); }}
template <class A> static constexpr int emulated_size_of(void (*)(A)) {{ return sizeof(A); }}
void emulated::enter(const void* arguments) {{ emulated_call({name}, arguments); }}
const int emulated::arguments_size = emulated_size_of({name});
"""


def compiler() -> str | None:
    """The C++ compiler that `CXX` names, else g++ or clang++ where one is installed."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="emulated-")


def _run(*words: str) -> None:
    made = subprocess.run(words, cwd=KERNELS, capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(f"the emulator's compiler refused the kernel:\n{made.stderr}")


@cache
def _runtime(program: str) -> tuple[str, ...]:
    objects = tuple(str(Path(_folder().name, name).with_suffix(".o")) for name in RUNTIME)
    for name, made in zip(RUNTIME, objects, strict=True):
        _run(program, *FLAGS, "-O2", "-c", str(HERE / name), "-o", made)
    return objects


def text_of(source: "mambats_kernels.cuda.Source") -> str:
    """The text of one translation unit; `#line` keeps the places that errors name those of the kernel's own files."""
    parts = [f"#define {name} {value}" for name, value in source.defines]
    parts.append('#include "emulated.h"')
    for name in source.files:
        if Path(name).name != "device.cuh":
            parts += [f'#line 1 "{name}"', (KERNELS / name).read_text()]
    return "\n".join([*parts, '#line 1 "emulated launcher"', END.format(name=source.name)])


@cache
def built(text: str) -> Path:
    """The library made of that text, once a session.

    Raises:
        RuntimeError: If there is no compiler, or it refuses the text; its words are in the message.
    """
    program = compiler()
    if program is None:
        raise RuntimeError("no C++ compiler: install g++ or name one in CXX")
    stem = Path(_folder().name, hashlib.sha256(text.encode()).hexdigest()[:16])
    stem.with_suffix(".cpp").write_text(text)
    _run(program, *FLAGS, *CHECKED, "-O1", "-c", str(stem.with_suffix(".cpp")), "-o", str(stem.with_suffix(".o")))
    _run(program, "-shared", str(stem.with_suffix(".o")), *_runtime(program), "-Wl,-Bsymbolic", "-o", f"{stem}.so")
    return stem.with_suffix(".so")


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
