"""The native library's file of a model: read by C++ it gives the forecasts of `mambats run`; damaged it is refused."""

import ctypes
import hashlib
import shutil
import struct
import subprocess

import numpy as np
import pytest

from mambats.bundle import layout
from mambats.bundle.check import record
from mambats.bundle.export import bundle_files
from mambats.bundle.native_file import _NUMBERS
from mambats.bundle.rebuild import flat_of, torch_engine
from mambats.cli import main
from mambats.streaming.engines.library import missing, native_folder, open_library

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "there is a library")
COMPILER = shutil.which("g++") or shutil.which("clang++")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no C++ compiler here")
    made, folder = tmp_path_factory.mktemp("example") / "forecast", native_folder()
    words = [
        COMPILER,
        "-std=c++17",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I",
        folder,
        folder / "cpp-example/forecast.cpp",
    ]
    words += [folder / "libmambats_native.so", f"-Wl,-rpath,{folder}", "-o", made]
    subprocess.run(list(map(str, words)), check=True)
    return made


def answers(program, body, folder, rows):
    (folder / "native.bin").write_bytes(body)
    text = "\n".join(" ".join([str(int(stamp)), *(f"{v:.9g}" for v in row)]) for stamp, row in rows) + "\n"
    words = [str(program), str(folder / "native.bin")]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.array([line.split()[1:] for line in done.stdout.splitlines()], np.float64)


@pytest.mark.parametrize("kind", ["plain", "quantiles", "mixing", "covariates"])
def test_the_example_forecasts_what_torch_does(tiny, program, tmp_path, kind):
    arguments, data = tiny.KINDS[kind]
    facts = {"WindowDataModule": data} if data else {}
    path = tiny.save(tiny.make_task(**arguments), tmp_path / "best.ckpt", **facts)
    model = flat_of(path)
    given = record(torch_engine(model), seed=3)
    kept = given["mask"][:, 0]
    values = np.where(given["observed"], given["values"], np.nan)[kept, 0]
    body = bundle_files(model, path, {})[layout.NATIVE]
    found = answers(program, body, tmp_path, zip(given["stamps"][kept, 0], values, strict=True))
    wanted = given["forecast"][kept, 0].reshape(len(found), -1)
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max() and np.ptp(wanted) > 1


def test_the_example_gives_the_numbers_of_mambats_run(tiny, bundle, files, program, tmp_path):
    hours = np.arange(40) * tiny.HOUR + 1_577_836_800 * 10**9  # 2020
    values = np.round(np.random.default_rng(0).normal(5, 3, (40, 2)), 3).astype(np.float32)
    lines = [f"{np.datetime64(int(stamp), 'ns')},{a},{b}" for stamp, (a, b) in zip(hours, values, strict=True)]
    (tmp_path / "in.csv").write_text("\n".join(["time,a,b", *lines]) + "\n")
    words = ["run", "--bundle", str(bundle), "--engine", "native", "--source", str(tmp_path / "in.csv")]
    assert main([*words, "--sink", str(tmp_path / "out.csv")]) == 0
    found = answers(program, files[layout.NATIVE], tmp_path, zip(hours, values, strict=True))
    # A table holds the points first, then by level, channel and step.
    table = np.loadtxt(tmp_path / "out.csv", delimiter=",", skiprows=1, usecols=range(7, 25)).reshape(40, 3, 2, 3)
    assert np.allclose(found, table.transpose(0, 3, 2, 1).reshape(40, 18), rtol=1e-7, atol=1e-7)


def test_the_example_says_what_is_wrong(files, program, tmp_path):
    for body, rows, said in (
        (files[layout.NATIVE][:-1], "", "cut off"),
        (files[layout.NATIVE], "1 2", "need 2"),
        (files[layout.NATIVE], "5 1 1\n4 1 1", "older"),
    ):
        (tmp_path / "native.bin").write_bytes(body)
        words = [str(program), str(tmp_path / "native.bin")]
        done = subprocess.run(words, input=rows, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and said in done.stderr


def refused(body):
    """Why the library does not take a file; "" where it does."""
    library, why = open_library(), ctypes.create_string_buffer(200)
    model = library.mambats_read(bytes(body), len(body), why, len(why))
    library.mambats_close(model)
    return "" if model else why.value.decode()


def test_every_flip_and_every_cut_is_found(files):
    good, draw = files[layout.NATIVE], np.random.default_rng(0)
    assert refused(good) == ""
    for _ in range(300):
        bad = bytearray(good)
        bad[draw.integers(len(bad))] ^= 1 << draw.integers(8)
        assert refused(bad)
    for keep in {*range(60), *draw.integers(0, len(good), 200).tolist()}:
        assert refused(good[:keep])
    assert refused(good + b"\0")


def test_sizes_that_lie_are_refused_though_the_sum_is_right(files):
    """Whoever writes a file can write its sum: sizes must not lead the reader past the end."""
    good, draw = files[layout.NATIVE], np.random.default_rng(0)
    taken = 0
    for trial in range(400):
        body = bytearray(good[48:])
        at = 8 * (trial % len(_NUMBERS))
        value = int(draw.choice([-1, 0, 1, 2, 3, 7, 8, 64, 65, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63)]))
        body[at : at + 8] = struct.pack("<q", value)
        found = refused(b"MAMBATSN" + struct.pack("<Q", 48 + len(body)) + hashlib.sha256(body).digest() + bytes(body))
        taken += not found
        if not found:  # another time or another way to hold, but no other size
            name = _NUMBERS[at // 8]
            same = struct.unpack_from("<q", good, 48 + at)[0] == value
            assert same or name in {"period_ns", "hold", "middle", "mixing"} | {f"calendar{k}" for k in range(8)}, name
    assert 0 < taken < 200


def test_weights_that_are_not_finite_are_refused(files):
    body = bytearray(files[layout.NATIVE][48:])
    body[-4:] = np.float32(np.nan).tobytes()
    sealed = b"MAMBATSN" + struct.pack("<Q", 48 + len(body)) + hashlib.sha256(body).digest() + bytes(body)
    assert "not finite" in refused(sealed)


@pytest.mark.slow
def test_cmake_finds_header_and_library(tmp_path):
    if shutil.which("cmake") is None or COMPILER is None:
        pytest.skip("no cmake and C++ compiler here")
    folder = native_folder()
    words = ["cmake", "-S", str(folder / "cpp-example"), "-B", str(tmp_path), f"-DMAMBATS_NATIVE={folder}"]
    subprocess.run(words, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(tmp_path)], check=True, capture_output=True)
    done = subprocess.run([str(tmp_path / "forecast")], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "usage" in done.stderr
