"""Which implementation runs, and what it says of itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mambats_kernels
from mambats_kernels import cuda, native
from mambats_kernels.backend import chosen_backend, explain_backend, use_backend
from mambats_kernels.selective_scan import op
from mambats_kernels.selective_scan.cases import arguments
from mambats_kernels.selective_scan.plan import plan

CPU = torch.device("cpu")


def test_the_fast_path_is_chosen_and_can_be_forced(monkeypatch):
    usual = chosen_backend("selective_scan", "cpu", torch.float32)
    assert usual == os.environ.get("MAMBATS_BACKEND") or usual == ("torch" if native.library is None else "native")
    assert chosen_backend("causal_conv", CPU, torch.bfloat16) == usual
    with use_backend("reference"):
        assert chosen_backend("selective_scan", CPU, torch.float32) == "reference"
        with use_backend("torch"):
            assert chosen_backend("selective_scan", CPU, torch.float32) == "torch"
            assert chosen_backend("selective_scan", CPU, torch.float64) == "reference"
    assert chosen_backend("selective_scan", CPU, torch.float32) == usual
    called = []
    real = op.chunked_scan
    monkeypatch.setattr(op, "chunked_scan", lambda *given: called.append(1) or real(*given))
    with use_backend("reference"):
        mambats_kernels.selective_scan(**arguments(0, torch.float32, CPU))
    assert not called
    with use_backend("torch"):
        mambats_kernels.selective_scan(**arguments(0, torch.float32, CPU))
    assert called


def test_unknown_names_are_refused():
    with (
        pytest.raises(ValueError, match="'gpu', known back-ends are cuda, native, reference, torch, triton"),
        use_backend("gpu"),
    ):
        pass
    with pytest.raises(ValueError, match="family is 'attention'"):
        chosen_backend("attention", CPU, torch.float32)


def test_it_says_what_it_chose():
    with use_backend("reference"):
        assert "forced by use_backend" in explain_backend()
    text = explain_backend()
    assert f"selective_scan on cpu, float32: {chosen_backend('selective_scan', CPU, torch.float32)}" in text
    assert "float64: reference" in text and "native library: " in text


def run(code, **environment):
    root = Path(mambats_kernels.__file__).parent.parent
    given = {**os.environ, **environment, "PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=120)


def test_the_environment_forces_and_refuses():
    code = "from mambats_kernels.backend import explain_backend; print(explain_backend())"
    assert "forced by MAMBATS_BACKEND" in run(code, MAMBATS_BACKEND="reference").stdout
    failed = run(code, MAMBATS_BACKEND="fast")
    assert failed.returncode and "MAMBATS_BACKEND is 'fast', known back-ends are" in failed.stderr


@pytest.mark.parametrize(
    ("batch", "tokens", "state"), [(4, 8192, 2048), (1, 8192, 2048), (8, 2048, 24576), (1, 20000, 512)]
)
def test_a_gpu_gets_few_launches(batch, tokens, state):
    cut = plan(torch.device("cuda"), batch, tokens, state)
    assert cut.runs * cut.length >= tokens
    assert 2 * cut.length + cut.runs + 10 * cut.blocks < 600
    assert cut.block * batch * cut.runs * state <= 2**26


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_cpu_gets_blocks_that_fit_its_cache(threads):
    for batch, tokens, state in ((32, 512, 2048), (8, 128, 2048), (4, 8192, 2048), (1, 3072, 2048), (256, 96, 2048)):
        cut = plan(CPU, batch, tokens, state, threads)
        assert cut.runs == 1 and cut.block * min(cut.rows, batch) * state <= 2**17 * threads**2
    assert plan(CPU, 1, 8192, 64, threads).runs > 1


def test_a_back_end_that_cannot_run_is_refused(monkeypatch):
    monkeypatch.setattr(cuda, "obstacle", lambda device: "there is no GPU")
    with pytest.raises(ValueError, match="'cuda', but there is no GPU; or take another"), use_backend("cuda"):
        pass
