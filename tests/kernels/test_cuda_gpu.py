"""The loader of CUDA kernels on a GPU: numbers arrive, from every thread, stream and device, and from the cache."""

import ctypes
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch

from mambats_kernels.cuda import Source, load, loader, nvrtc, obstacle, stream

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
TEXT = """
struct Arguments { float* to; i64 count; float scale; };
KERNEL fill(PARAMETER Arguments p) {
  i64 k = blockIdx.x * (i64)blockDim.x + threadIdx.x;
  if (k < p.count) p.to[k] = p.scale * (float)k + 1000 * cluster_rank();
}
KERNEL turn(PARAMETER Arguments p) {  // through shared memory, the last place of which is used
  SHARED(memory);
  float* held = (float*)memory;
  for (int k = threadIdx.x; k < p.count; k += blockDim.x) held[p.count - 1 - k] = p.scale * k;
  __syncthreads();
  for (int k = threadIdx.x; k < p.count; k += blockDim.x) p.to[k] = held[k];
}
"""


class Arguments(ctypes.Structure):
    _fields_ = (("to", ctypes.c_void_p), ("count", ctypes.c_int64), ("scale", ctypes.c_float))


@pytest.fixture(autouse=True)
def made(tmp_path, monkeypatch):
    """An own cache, and every kernel built anew in each test."""
    monkeypatch.setenv("MAMBATS_CACHE", str(tmp_path))
    monkeypatch.setattr(loader, "_kernels", {})


def source(folder, name="fill", cluster=1):
    (folder / "tiny.cu").write_text(TEXT)
    return Source(("cuda/device.cuh", str(folder / "tiny.cu")), (("MAMBATS_CLUSTER", cluster),), name)


def expected(count, scale, device="cuda", cluster=1):
    k = torch.arange(count, device=device)
    return scale * k.float() + 1000 * (k // 64 % cluster)


def fill(kernel, to, scale, cluster=1, on=None):
    run = kernel.launcher((to.numel() // 64, 1, 1), 64, cluster)
    run(Arguments(to.data_ptr(), to.numel(), scale), stream(to.device.index) if on is None else on)
    return to


def test_nothing_is_in_the_way():
    device = torch.device("cuda", torch.cuda.current_device())
    assert obstacle(device) is None and obstacle(torch.device("cuda")) is None


@pytest.mark.parametrize("cluster", [1, 2])
def test_a_kernel_writes_what_it_should(tmp_path, cluster):
    if cluster > 1 and torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("clusters need compute capability 9.0")
    kernel = load(source(tmp_path, cluster=cluster), 0)
    assert 0 < kernel.registers < 256 and kernel.spilled == 0 and kernel.threads == 1024
    assert kernel.size in (None, 24)
    to = fill(kernel, torch.zeros(64 * 6, device="cuda"), 0.5, cluster)
    torch.testing.assert_close(to, expected(64 * 6, 0.5, cluster=cluster), rtol=0, atol=0)


def test_large_shared_memory_is_allowed(tmp_path):
    count = 24_000  # 96,000 bytes: more than 48 KiB, and what compute capability 8.6 has
    kernel, to = load(source(tmp_path, "turn"), 0, 4 * count), torch.zeros(count, device="cuda")
    kernel.launcher((1, 1, 1), 256)(Arguments(to.data_ptr(), count, 2.0), stream(0))
    torch.testing.assert_close(to, 2.0 * torch.arange(count - 1, -1, -1, device="cuda"), rtol=0, atol=0)


def test_more_shared_memory_than_there_is_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="cuFuncSetAttribute failed: CUDA_ERROR_INVALID_VALUE"):
        load(source(tmp_path, "turn"), 0, 2**20)


def test_a_wrong_argument_is_refused(tmp_path):
    class Short(ctypes.Structure):
        _fields_ = (("to", ctypes.c_void_p),)

    kernel = load(source(tmp_path), 0)
    if kernel.size is None:
        pytest.skip("this driver cannot tell the size of a kernel's parameter")
    with pytest.raises(TypeError, match="fill takes 24 bytes, Short has 8"):
        kernel.launcher((1, 1, 1), 64)(Short(0), stream(0))


def test_a_thread_that_never_saw_the_device_loads_and_launches(tmp_path):
    to, failed = torch.zeros(64 * 4, device="cuda"), []
    ready = load(source(tmp_path), 0)
    handle = stream(0)

    def work():
        try:
            fill(ready, to, 3.0, on=handle)
            load(source(tmp_path, "turn"), 0)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed
    torch.testing.assert_close(to, expected(64 * 4, 3.0), rtol=0, atol=0)


def test_threads_share_a_launcher(tmp_path):
    count, rounds = 64, 300
    run = load(source(tmp_path), 0).launcher((1, 1, 1), count)
    places = torch.zeros(4, rounds, count, device="cuda")
    torch.cuda.synchronize()

    def work(which):
        with torch.cuda.stream(torch.cuda.Stream()):
            for k in range(rounds):
                run(Arguments(places[which, k].data_ptr(), count, which * rounds + k), stream(0))

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.cuda.synchronize()
    scale = torch.arange(4 * rounds, device="cuda").view(4, rounds, 1).float()
    torch.testing.assert_close(places, scale * torch.arange(count, device="cuda"), rtol=0, atol=0)


def test_a_graph_captures_and_replays(tmp_path):
    to = torch.zeros(64 * 4, device="cuda")
    first = torch.cuda.CUDAGraph()
    with torch.cuda.graph(first):  # loaded inside: the first call of a shape may be a captured one
        fill(load(source(tmp_path), 0), to, 2.0)
    assert not to.any()
    first.replay()
    torch.testing.assert_close(to, expected(64 * 4, 2.0), rtol=0, atol=0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_each_device_gets_its_own(tmp_path):
    for device in (1, 0, 1):
        to = fill(load(source(tmp_path), device), torch.zeros(64 * 4, device=f"cuda:{device}"), 2.0)
        torch.testing.assert_close(to, expected(64 * 4, 2.0, to.device), rtol=0, atol=0)
    assert torch.cuda.current_device() == 0


def test_another_process_reads_what_this_one_compiled(tmp_path):
    load(source(tmp_path), 0)
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(loader.__file__).resolve().parents[2])!r})
import torch
from mambats_kernels.cuda import Source, load, nvrtc
torch.zeros(1, device="cuda")
if "forbid" in sys.argv:
    nvrtc.Compiler.build = None
begun = time.perf_counter()
load(Source(*{(source(tmp_path).files, source(tmp_path).defines)!r}, "fill"), 0)
print(f"loaded in {{1e3 * (time.perf_counter() - begun):.1f}} ms")
"""
    given = {**os.environ, "MAMBATS_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, "forbid"], env=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    print("from the cache:", done.stdout.strip())
    given["MAMBATS_CACHE"] = str(tmp_path / "other")
    done = subprocess.run(
        [sys.executable, "-c", code, "forbid"], env=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode, "with an empty cache it has to compile"


def test_a_damaged_file_is_built_anew(tmp_path):
    load(source(tmp_path), 0)
    path = next(tmp_path.rglob("*.cubin"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    loader._kernels.clear()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        to = fill(load(source(tmp_path), 0), torch.zeros(64, device="cuda"), 2.0)
    torch.testing.assert_close(to, expected(64, 2.0), rtol=0, atol=0)
    assert path.read_bytes() != data


def test_a_kernel_that_does_not_compile_is_said(tmp_path):
    (tmp_path / "wrong.cu").write_text("KERNEL wrong() { nothing; }")
    with pytest.raises(RuntimeError, match=r"wrong\.cu\(1\): error"):
        load(Source(("cuda/device.cuh", str(tmp_path / "wrong.cu")), (), "wrong"), 0)
    with pytest.raises(RuntimeError, match="cuModuleGetFunction failed: CUDA_ERROR_NOT_FOUND"):
        load(source(tmp_path, "absent"), 0)


def test_text_for_the_driver_runs_too(tmp_path, monkeypatch):
    """What a device newer than the compiler would get."""
    monkeypatch.setattr(nvrtc.Compiler, "target", lambda self, capability: "compute_80")
    to = fill(load(source(tmp_path), 0), torch.zeros(64, device="cuda"), 2.0)
    torch.testing.assert_close(to, expected(64, 2.0), rtol=0, atol=0)


def test_a_launch_costs_little(tmp_path):
    to, handle = torch.zeros(64, device="cuda"), stream(0)
    run = load(source(tmp_path), 0).launcher((1, 1, 1), 64)
    arguments = Arguments(to.data_ptr(), 64, 1.0)
    windows = []
    for _ in range(20):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(200):  # fewer than the queue holds
            run(arguments, handle)
        windows.append((time.perf_counter() - begun) / 200)
    print(
        f"a launch costs the host {1e6 * min(windows):.2f} us at best, {1e6 * sorted(windows)[10]:.2f} us at the median"
    )
    assert min(windows) < 20e-6, "about 3 us: something on the way became slow"
