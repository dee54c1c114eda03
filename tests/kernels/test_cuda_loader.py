"""The loader of CUDA kernels without a GPU: what it compiles and refuses, and what a launch hands over."""

import ctypes
import os
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mambats_kernels.cuda import Source, driver, load, loader, module, nvrtc, obstacle, stream

ROOT = Path(__file__).resolve().parents[2]
TINY = 'extern "C" __global__ void fill(float* to) { to[threadIdx.x] = VALUE; }\n'


class FakeCompiler:
    """Builds nothing, slowly, and counts."""

    version, built = (13, 0), 0

    def target(self, capability):
        return f"sm_{capability[0]}{capability[1]}"

    def build(self, text, target, name):
        self.built += 1
        time.sleep(0.05)
        return text.encode()


@pytest.fixture
def source(tmp_path):
    (tmp_path / "tiny.cu").write_text(TINY)
    return Source((str(tmp_path / "tiny.cu"),), (("VALUE", 3),), "fill")


def test_a_source_is_its_constants_then_its_files(tmp_path):
    (tmp_path / "a.cuh").write_text("int a;\n")
    (tmp_path / "b.cu").write_text("int b;")
    files = (str(tmp_path / "a.cuh"), str(tmp_path / "b.cu"))
    lines = Source(files, (("N", 16), ("TYPE", "bf16")), "run").text().splitlines()
    marks = [f'#line 1 "{file}"' for file in files]
    assert lines == ["#define N 16", "#define TYPE bf16", marks[0], "int a;", "", marks[1], "int b;"]


def test_a_source_is_found_in_the_package():
    assert '#line 1 "cuda/device.cuh"' in Source(("cuda/device.cuh",), (), "run").text()
    with pytest.raises(FileNotFoundError, match=r"nothing\.cu is not there: .* install it again"):
        Source(("cuda/nothing.cu",), (), "run").text()


def test_obstacles_are_said():
    assert obstacle(torch.device("cpu")) == "cuda is for NVIDIA's GPUs"
    if not torch.cuda.is_available():
        assert obstacle(torch.device("cuda:0")) and obstacle(torch.device("cuda"))


def raiser(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("patches", "said"),
    [
        ({"version": None}, "this torch is built without CUDA"),
        ({"available": False}, "torch finds no CUDA device"),
        ({"capability": (7, 5)}, "cuda:3 has compute capability 7.5, the kernels need 8.0 or newer"),
        ({"library": raiser(OSError("libcuda.so.1: no such file"))}, "libcuda.so.1: no such file"),
        ({"compiler": raiser(OSError("no NVRTC"))}, "no NVRTC"),
        ({"library": raiser(TypeError("odd"))}, "cuda cannot be used: odd"),
        ({}, None),
    ],
)
def test_an_obstacle_is_found_once(monkeypatch, patches, said):
    asked = []
    monkeypatch.setattr(loader, "_obstacles", {})
    monkeypatch.setattr(torch.version, "cuda", patches.get("version", "13.0"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: asked.append(1) or patches.get("available", True))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: patches.get("capability", (9, 0)))
    monkeypatch.setattr(driver, "library", patches.get("library", lambda: None))
    monkeypatch.setattr(nvrtc, "compiler", patches.get("compiler", FakeCompiler))
    assert [obstacle(torch.device("cuda", 3)) for _ in range(3)] == [said] * 3
    assert len(asked) == (0 if patches == {"version": None} else 1)


def test_a_compiled_function_may_ask(monkeypatch):
    monkeypatch.setattr(loader, "_obstacles", {})
    monkeypatch.setattr(loader, "_find_obstacle", lambda index: [os.environ.get("NOTHING", "broken"), None][index])

    @torch.compile(fullgraph=True, backend="eager")
    def ask(x):
        return x + (1 if obstacle(torch.device("cuda:0")) else 2) + (10 if obstacle(torch.device("cuda:1")) else 20)

    assert ask(torch.zeros(1)).item() == 21


def test_a_device_newer_than_the_compiler_gets_text_for_its_driver():
    compiler = nvrtc.Compiler.__new__(nvrtc.Compiler)
    compiler.version, compiler.targets = (12, 4), (75, 80, 90)
    assert [compiler.target(it) for it in ((9, 0), (8, 0), (8, 9), (12, 1))] == [
        "sm_90",
        "sm_80",
        "compute_80",
        "compute_90",
    ]
    with pytest.raises(RuntimeError, match="the device is 70"):
        compiler.target((7, 0))


def test_threads_that_need_the_same_kernel_build_it_once(monkeypatch, source, tmp_path):
    compiler, got = FakeCompiler(), []
    monkeypatch.setenv("MAMBATS_CACHE", str(tmp_path))
    monkeypatch.setattr(loader, "_kernels", {})
    monkeypatch.setattr(loader, "Kernel", lambda *given: SimpleNamespace(given=given))
    monkeypatch.setattr(nvrtc, "compiler", lambda: compiler)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    threads = [threading.Thread(target=lambda: got.append(load(source, 1, 512))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compiler.built == 1 and len({id(kernel) for kernel in got}) == 1
    assert got[0].given == (source.text().encode(), "fill", 1, 512)
    assert load(source, 0, 512) is not got[0] and load(source, 1) is not got[0]


class FakeDriver:
    """Remembers what is launched; answers with the codes it is given."""

    def __init__(self, codes=()):
        self.codes, self.seen, self.pushed = list(codes), [], []

    def cuLaunchKernelEx(self, config, function, parameters, extra):
        held = config._obj
        place = ctypes.cast(parameters._obj.value, ctypes.POINTER(Numbers)).contents
        cluster = list(held.attributes[0].value)[:3] if held.count else None
        shape = (list(held.grid), list(held.block), held.shared, held.stream or 0)
        self.seen.append((*shape, cluster, (place.a, place.b), function.value, extra))
        return self.codes.pop(0) if self.codes else 0

    def __getattr__(self, name):
        self.pushed.append(name)
        return lambda *_: 0


class Numbers(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int64), ("b", ctypes.c_float))


@pytest.fixture
def kernel(monkeypatch):
    made = module.Kernel.__new__(module.Kernel)
    made.name, made.device, made.shared, made.threads, made.size = "fill", 1, 512, 256, ctypes.sizeof(Numbers)
    made.registers, made._function = 40, ctypes.c_void_p(77)
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: 1, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    driver._primary.cache_clear()
    yield made
    driver._primary.cache_clear()


def launch(kernel, monkeypatch, fake, device=1):
    monkeypatch.setattr(driver, "library", lambda: fake)
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: device, raising=False)
    return kernel.launcher((6, 2, 1), 128, 2)


def test_a_launch_hands_over_geometry_stream_and_argument(kernel, monkeypatch):
    fake = FakeDriver()
    run = launch(kernel, monkeypatch, fake)
    for number, handle in ((5, 0), (6, 99), (7, 0)):
        run(Numbers(number, 0.5), handle)
    assert fake.seen == [
        ([6, 2, 1], [128, 1, 1], 512, handle, [2, 1, 1], (number, 0.5), 77, None)
        for number, handle in ((5, 0), (6, 99), (7, 0))
    ]
    assert not fake.pushed, "the thread's context is right: nothing else is called"
    kernel.launcher((6, 2, 1), 128)(Numbers(1, 2), 0)
    assert fake.seen[-1][4] is None


@pytest.mark.parametrize(("codes", "device", "calls"), [([201], 1, 2), ([400], 1, 2), ([], 0, 1)])
def test_another_threads_or_devices_context_is_changed_for_the_launch(kernel, monkeypatch, codes, device, calls):
    fake = FakeDriver(codes)
    launch(kernel, monkeypatch, fake, device)(Numbers(1, 2), 0)
    assert len(fake.seen) == calls
    assert fake.pushed[-2:] == ["cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"]


@pytest.mark.parametrize("codes", [[700], [201, 201]])
def test_a_refused_launch_says_what_was_asked_for(kernel, monkeypatch, codes):
    run = launch(kernel, monkeypatch, FakeDriver(codes))
    with pytest.raises(
        RuntimeError, match=rf"fill on cuda:1 .*{codes[-1]}.*Grid \(6, 2, 1\), 128 threads, cluster 2, 512"
    ):
        run(Numbers(1, 2), 0)


def test_an_argument_of_another_size_is_refused(kernel, monkeypatch):
    class Wrong(ctypes.Structure):
        _fields_ = (("a", ctypes.c_int64),)

    fake = FakeDriver()
    with pytest.raises(TypeError, match="fill takes 16 bytes, Wrong has 8"):
        launch(kernel, monkeypatch, fake)(Wrong(1), 0)
    assert not fake.seen


def test_prepared_launches_stay_few(kernel, monkeypatch):
    fake = FakeDriver()
    run = launch(kernel, monkeypatch, fake)
    for handle in range(3 * module.STREAMS):
        run(Numbers(handle, 0), handle)
    assert [seen[3] for seen in fake.seen] == list(range(3 * module.STREAMS))


@pytest.mark.parametrize(
    ("grid", "threads", "cluster", "said"),
    [
        ((0, 1, 1), 32, 1, r"grid is \(0, 1, 1\)"),
        ((1, 65536, 1), 32, 1, "65535"),
        ((1, 1, 1), 257, 1, "257 threads .* 1 to 256"),
        ((3, 1, 1), 32, 2, "clusters of 2 .* multiple"),
        ((4, 1, 1), 32, 0, "clusters of 0"),
    ],
)
def test_an_impossible_geometry_is_refused(kernel, grid, threads, cluster, said):
    with pytest.raises(ValueError, match=said):
        kernel.launcher(grid, threads, cluster)


def test_clusters_need_a_new_device(kernel, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (8, 9))
    with pytest.raises(ValueError, match="compute capability 9.0"):
        kernel.launcher((2, 1, 1), 32, 2)


def test_structures_lie_as_the_driver_reads_them():
    offsets = {
        name: getattr(driver.Config, name).offset for name in ("block", "shared", "stream", "attributes", "count")
    }
    assert offsets == {"block": 12, "shared": 24, "stream": 32, "attributes": 40, "count": 48}
    assert (ctypes.sizeof(driver.Config), ctypes.sizeof(driver.Attribute)) == (56, 72)


def test_the_stream_is_asked_for_without_torchs_private_function(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=100 + device))
    assert loader.plain_stream(3) == 103
    assert stream in (loader.plain_stream, getattr(torch._C, "_cuda_getCurrentRawStream", None))


@pytest.fixture
def compiler():
    try:
        return nvrtc.compiler()
    except OSError as error:
        pytest.skip(f"{error}")


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "compute_90"])
def test_nvrtc_compiles_without_a_gpu(compiler, target, source):
    built = compiler.build(source.text(), target, "fill")
    assert (
        built[:4] == b"\x7fELF"
        if target.startswith("sm_")
        else f".target {target.replace('compute', 'sm')}".encode() in built
    )
    assert built == compiler.build(source.text(), target, "fill")


def test_nvrtc_says_where_a_kernel_is_wrong(compiler, source):
    Path(source.files[0]).write_text("// one\n" + TINY.replace("to[", "nothing["))
    with pytest.raises(RuntimeError) as said:
        compiler.build(source.text(), "sm_90", "fill")
    assert f'{source.files[0]}(2): error: identifier "nothing" is undefined' in str(said.value)
    Path(source.files[0]).write_text("\n".join(f"wrong{k};" for k in range(200)))
    with pytest.raises(RuntimeError) as said:
        compiler.build(source.text(), "sm_90", "fill")
    assert 1500 < len(str(said.value)) < 2200


def test_what_the_kernels_may_use_compiles(compiler):
    for cluster in (1, 2):
        text = Source(("cuda/device.cuh",), (("MAMBATS_CLUSTER", cluster),), "none").text()
        assert compiler.build(text, "sm_90", "none")


@pytest.mark.slow
def test_wheel_and_sdist_carry_the_kernels(tmp_path):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git repository here, so nothing is tracked")
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(tmp_path / "copy")]
    given = {**os.environ, "CXX": "no-such-compiler"}
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    wanted = {
        name.removeprefix("kernels/")
        for name in names
        if name.startswith("kernels/") and name.endswith((".cu", ".cuh"))
    }
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        assert "mambats_kernels/cuda/device.cuh" in wanted and wanted <= set(wheel.namelist())
