"""The C header is plain C, and says what the library does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mambats_kernels import native

NATIVE = Path(__file__).parents[2] / "kernels" / "mambats_kernels" / "native"
PROGRAM = """
#include "mambats.h"
int main(void) {
    char why[100];
    struct MambatsModel *none = mambats_open("none", why, sizeof why);
    return none || why[0] != 'c' || mambats_format() != MAMBATS_FORMAT
        || mambats_stack_size() != (int)sizeof(struct MambatsStack);
}
"""


def test_the_header_is_plain_c(tmp_path):
    source = tmp_path / "size.c"
    source.write_text(PROGRAM)
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None or native.library is None:
        pytest.skip(native.missing or "no C compiler here")
    words = [compiler, "-std=c99", "-Wall", "-pedantic", "-Werror", "-I", NATIVE, source]
    words += [NATIVE / "libmambats_native.so", f"-Wl,-rpath,{NATIVE}", "-o", tmp_path / "size"]
    subprocess.run(list(map(str, words)), check=True)
    subprocess.run([str(tmp_path / "size")], check=True)
