"""What the device can do at most, measured in the same run: bytes copied and exponentials taken."""

import platform
import subprocess
import time
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

from bench.row import Machine
from mambats_kernels.cuda import nvrtc


def _milliseconds(call: object) -> float:
    """Median of 10 calls between events, after 3 to warm up."""
    found: list[float] = []
    for _ in range(13):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()  # type: ignore[operator]
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end))
    return median(found[3:])


def copy_rate(device: torch.device) -> float:
    """Terabytes read and written a second by a copy of 1 GiB, far above any cache."""
    source = torch.randn(2**28, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * 2**28 / _milliseconds(lambda: target.copy_(source)) / 1e9


def exp2_rate(device: torch.device) -> tuple[float, str]:
    """10^12 exponentials a second and what counted them: a Triton kernel, else torch on data that fits the caches."""
    try:
        counted = import_module("bench.exp2")
    except ImportError:
        x = torch.rand(2**22, device=device)
        return 2**22 / _milliseconds(lambda: torch.exp2(x, out=x)) / 1e9, "torch.exp2, bound by the cache"
    blocks = 16 * torch.cuda.get_device_properties(device).multi_processor_count
    out = torch.rand(blocks * counted.LANES, device=device)
    spent = _milliseconds(lambda: counted.powers[(blocks,)](out, counted.TURNS))
    return blocks * counted.LANES * counted.TURNS / spent / 1e9, "a Triton kernel"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _nvrtc() -> str:
    """Of the library that builds our kernels; of torch's CUDA where it cannot be asked."""
    try:
        return ".".join(str(part) for part in nvrtc.compiler().version)
    except (OSError, RuntimeError):
        return str(torch.version.cuda or "none")


def _driver() -> str:
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return told.stdout.splitlines()[0].strip() if told.returncode == 0 and told.stdout else "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def machine(device: torch.device, ceilings: bool = False) -> Machine:
    """Name the device and the versions; measure its ceilings if asked."""
    cuda = device.type == "cuda"
    copied = copy_rate(device) if cuda and ceilings else None
    exps = exp2_rate(device) if cuda and ceilings else None
    if exps is not None and copied is not None:
        print(f"ceilings: copy {copied:.3f} TB/s; exp2 {exps[0]:.3f} x 10^12 a second by {exps[1]}")
    return Machine(
        device=torch.cuda.get_device_name(device) if cuda else _processor(),
        torch=torch.__version__,
        triton=_version("triton"),
        nvrtc=_nvrtc() if cuda else "none",
        driver=_driver() if cuda else "none",
        python=platform.python_version(),
        threads=torch.get_num_threads(),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        copy_tb_s=copied,
        exp2_t_s=exps[0] if exps else None,
    )
