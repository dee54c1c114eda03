"""A wheel built where there is a compiler runs the native path where there is none."""

import importlib.util
import os
import platform
import runpy
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from mambats_kernels.native import build

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64"), ("darwin", "arm64")}
CODE = """
import torch, mambats_kernels
from mambats_kernels.backend import chosen_backend, explain_backend
from mambats_kernels.selective_scan.cases import arguments
made = arguments(0, torch.float32, torch.device("cpu"))
y, state = mambats_kernels.selective_scan(**made)
print(mambats_kernels.__file__, chosen_backend("selective_scan", "cpu", torch.float32), bool(y.isfinite().all()))
print(explain_backend())
"""


def wheel(folder, **environment):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git repository here, so nothing is tracked")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "copy" / name)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--skip-dependency-check",
        "--outdir",
        str(folder),
        str(folder / "copy"),
    ]
    given = {**os.environ, **environment}
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl")), done.stdout + done.stderr


def installed(folder, made):
    """Install the wheel alone in an environment that sees torch but no compiler, and ask what runs."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    site = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(made)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    # Behind the wheel's own packages: torch and what it needs, from the environment of the tests.
    (site / "torch.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")), encoding="utf-8")
    given = {"PATH": str(folder / "venv" / "bin"), "HOME": str(folder)}
    done = subprocess.run([str(python), "-c", CODE], cwd=folder, env=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout
    return done.stdout


def test_zig_is_asked_for_only_where_there_is_no_compiler(monkeypatch):
    required = runpy.run_path(str(ROOT / "kernels" / "build_backend.py"))["_compiler"]
    for name, value, wanted in (("CXX", "no-such-compiler", False), ("PATH", "", True)):
        with monkeypatch.context() as here:
            here.delenv("CXX", raising=False)
            here.setenv(name, value)
            here.setattr(importlib.util, "find_spec", lambda _: None)
            asked = any(line.startswith("ziglang") for line in required())
            assert asked == (wanted and (sys.platform, platform.machine()) in KNOWN)


def test_zig_builds_for_any_processor(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    words = build.compiler()
    assert words == [sys.executable, "-m", "ziglang", "c++"]
    assert {"-target", "-mcpu=baseline"} & set(build.platform_flags(words)) and not build.platform_flags(["c++"])


@pytest.mark.slow
@pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler to build with")
def test_a_wheel_runs_natively_without_a_compiler(tmp_path):
    made, _ = wheel(tmp_path)
    assert "-py3-none-" in made.name and not made.name.endswith("-any.whl")
    assert "native True" in installed(tmp_path, made)


@pytest.mark.slow
def test_a_wheel_built_without_a_compiler_runs_on_torch(tmp_path):
    made, said = wheel(tmp_path, CXX="no-such-compiler")
    assert made.name.endswith("-py3-none-any.whl") and "no C++ compiler" in said
    told = installed(tmp_path, made)
    assert "torch True" in told and "native library: none" in told
