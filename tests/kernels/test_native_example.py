"""The C header and the C++ example: the same tokens as torch, from the weights of a bundle."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from mambats.encoders import CausalEncoder
from mambats.mixers import MambaSettings
from mambats_kernels import native
from mambats_kernels.backend import use_backend

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "kernels" / "mambats_kernels" / "native"
COMPILER = shutil.which("g++") or shutil.which("clang++")


def built(source, folder, *flags):
    if COMPILER is None:
        pytest.skip("no C++ compiler here")
    if native.library is None:
        pytest.skip(native.missing)
    library = NATIVE / "libmambats_native.so"
    words = [COMPILER, *flags, "-I", NATIVE, source, library, f"-Wl,-rpath,{NATIVE}", "-o", folder / "made"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return folder / "made"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    return built(ROOT / "kernels" / "example" / "step.cpp", folder, "-std=c++17", "-O1", "-Wall", "-Wextra")


@pytest.mark.parametrize(("hold", "taps", "norm"), [(False, 4, True), (True, 1, False)])
def test_the_example_gives_the_tokens_of_torch(program, tmp_path, hold, taps, norm):
    from safetensors.numpy import save_file

    settings = MambaSettings(state_size=5, conv_width=taps, hold=hold)
    encoder = CausalEncoder(2, 8, 2, mixer=settings, final_norm=norm).eval().requires_grad_(False)
    weights = {f"weight.model.encoder.{name}": v.numpy() for name, v in encoder.state_dict().items()}
    save_file({**weights, "initial.other": np.ones(3)}, tmp_path / "weights.safetensors")
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((20, 3)).astype(np.float32)
    rows[:, 0] = draw.uniform(0, 3, 20)
    rows[:, 1:][draw.random((20, 2)) < 0.2] = np.nan
    words = [str(program), str(tmp_path / "weights.safetensors"), *(["hold"] if hold else [])]
    text = "\n".join(" ".join(f"{v:.9g}" for v in row) for row in rows)
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=True)
    found = np.array([line.split() for line in done.stdout.splitlines()], np.float64)
    state, wanted = encoder.init_state(1), []
    with use_backend("torch"):
        for row in torch.from_numpy(rows):
            seen = row[None, 1:].isfinite()
            token, state = encoder.step(row[None, 1:].nan_to_num(), row[:1], observed_t=seen, state=state)
            wanted.append(token[0].numpy())
    assert np.abs(found - np.stack(wanted)).max() < 1e-5 * np.abs(wanted).max()
    assert subprocess.run(words, input="1 2 3 4", capture_output=True, check=False, text=True).returncode == 2


def test_the_header_is_plain_c(tmp_path):
    source = tmp_path / "size.c"
    source.write_text(
        '#include "mambats.h"\nint main(void) { return mambats_stack_size() != (int)sizeof(struct MambatsStack); }\n'
    )
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None or native.library is None:
        pytest.skip(native.missing or "no C compiler here")
    words = [
        compiler,
        "-std=c99",
        "-Wall",
        "-pedantic",
        "-Werror",
        "-I",
        NATIVE,
        source,
        NATIVE / "libmambats_native.so",
    ]
    words += [f"-Wl,-rpath,{NATIVE}", "-o", tmp_path / "size"]
    subprocess.run(list(map(str, words)), check=True)
    subprocess.run([str(tmp_path / "size")], check=True)
