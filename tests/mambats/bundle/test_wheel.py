"""From the wheel alone, no torch, no checkout: `mambats run`, and the C++ example against its library."""

import importlib.util
import shutil
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest

from mambats.bundle import layout
from mambats_kernels.native import build

WHEELS = Path(__file__).parents[2] / "kernels" / "test_native_wheel.py"


def made(folder):
    spec = importlib.util.spec_from_file_location("test_native_wheel", WHEELS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.wheel(folder)[0]


def bare(folder, wheel):
    """An environment with numpy, onnxruntime, safetensors and the wheel, and nothing else."""
    venv.create(folder / "bare", with_pip=True)
    python = str(folder / "bare" / "bin" / "python")
    got = subprocess.run(
        [python, "-m", "pip", "install", "-q", "numpy", "onnxruntime", "safetensors"], check=False, text=True,
        capture_output=True,
    )  # fmt: skip
    if got.returncode:
        pytest.skip(f"no packages to install from here: {got.stderr[-200:]}")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    return python


@pytest.mark.slow
@pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler to build with")
def test_the_wheel_runs_a_bundle_and_a_node_links_to_its_library(tmp_path, bundle, tiny):
    python = bare(tmp_path, made(tmp_path))
    here = {"PATH": str(tmp_path / "bare" / "bin"), "HOME": str(tmp_path)}
    source, sink = tmp_path / "in.csv", tmp_path / "out.csv"
    hours = np.arange(30) * tiny.HOUR + 1_577_836_800 * 10**9
    rows = [(int(stamp), k % 7, 10 + k % 5) for k, stamp in enumerate(hours)]
    source.write_text("time,a,b\n" + "".join(f"{np.datetime64(t, 'ns')},{a},{b}\n" for t, a, b in rows))
    words = ["--bundle", str(bundle), "--engine", "native", "--source", str(source), "--sink", str(sink)]
    subprocess.run([str(tmp_path / "bare" / "bin" / "mambats"), "run", *words], check=True, env=here, cwd=tmp_path)
    table = np.loadtxt(sink, delimiter=",", skiprows=1, usecols=range(7, 25)).reshape(30, 3, 2, 3)
    asked = subprocess.run(
        [python, "-m", "mambats.streaming.engines.library"], env=here, cwd=tmp_path, check=True, text=True,
        capture_output=True,
    )  # fmt: skip
    native, program = Path(asked.stdout.strip()), tmp_path / "forecast"
    assert tmp_path in native.parents and (native / "cpp-example" / "CMakeLists.txt").is_file()
    compile_it = [*build.compiler(), "-std=c++17", "-I", str(native), str(native / "cpp-example" / "forecast.cpp")]
    compile_it += [str(native / "libmambats_native.so"), f"-Wl,-rpath,{native}", "-o", str(program)]
    subprocess.run(compile_it, check=True)
    text = "".join(f"{t} {a} {b}\n" for t, a, b in rows)
    done = subprocess.run(
        [str(program), str(bundle / layout.NATIVE)], input=text, check=True, text=True, capture_output=True
    )
    found = np.array([line.split()[1:] for line in done.stdout.splitlines()], np.float64)
    assert np.array_equal(found, table.transpose(0, 3, 2, 1).reshape(30, 18))
    if shutil.which("cmake"):
        folder = str(native / "cpp-example")
        subprocess.run(["cmake", "-S", folder, "-B", str(tmp_path / "made"), f"-DMAMBATS_NATIVE={native}"], check=True)
        subprocess.run(["cmake", "--build", str(tmp_path / "made")], check=True)
