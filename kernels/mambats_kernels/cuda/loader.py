"""From a source to a kernel: says whether it can be had on a device, builds it or reads it from the cache, keeps it."""

import threading
from collections.abc import Callable

import torch

from mambats_kernels.cuda import cache, driver, nvrtc
from mambats_kernels.cuda.module import Kernel
from mambats_kernels.cuda.source import Source

OLDEST = (8, 0)  # cp.async and tf32 mma
_kernels: dict[tuple[Source, int, int], Kernel] = {}
_obstacles: dict[int, str | None] = {}
_lock = threading.Lock()


def obstacle(device: torch.device) -> str | None:
    """Say why kernels cannot be built or run on a device, None if they can; never raises.

    Found out once a device and process. While torch traces a function, it is asked and the answer taken as a constant.
    """
    if device.type != "cuda":
        return "cuda is for NVIDIA's GPUs"
    index = device.index
    if index in _obstacles:
        return _obstacles[index]
    try:
        if index is None:
            return obstacle(torch.device("cuda", torch.cuda.current_device()))
        found = _find_obstacle(index)
    except Exception as error:  # whatever it is, another back-end takes over and can say so
        found = f"cuda cannot be used: {error}"
    if index is not None:
        _obstacles[index] = found
    return found


# What torch.compiler.assume_constant_result sets; calling it here would import torch's compiler, a second or more.
obstacle._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def load(source: Source, device: int, shared: int = 0) -> Kernel:
    """Give a kernel on a device: kept in the process, else read from the cache, else compiled (about half a second).

    Args:
        source: What to build.
        device: Index of the device.
        shared: Dynamic shared memory of every launch, bytes.

    Returns:
        The kernel, the same one for the same arguments.

    Raises:
        RuntimeError: If it does not compile, or the driver refuses it; says why.
        OSError: If there is no NVRTC or no driver; `obstacle` says so before.
    """
    found = _kernels.get((source, device, shared))
    return _load(source, device, shared) if found is None else found


def plain_stream(device: int) -> int:
    """Give the raw handle of the stream that torch works on, by torch's public functions."""
    return torch.cuda.current_stream(device).cuda_stream


# Private in torch, and what its own compiled code calls: no object is made.
stream: Callable[[int], int] = getattr(torch._C, "_cuda_getCurrentRawStream", plain_stream)


def image(source: Source, capability: tuple[int, int], compiler: nvrtc.Compiler) -> bytes:
    """Read the binary of a source from the cache, or compile and keep it.

    Args:
        source: What to build.
        capability: Compute capability of the device, (9, 0).
        compiler: Who compiles.
    """
    text, target = source.text(), compiler.target(capability)
    key = cache.key(text, target, *nvrtc.OPTIONS, str(compiler.version))
    held = cache.read(key)
    if held is None:
        held = compiler.build(text, target, source.name)
        cache.write(key, held)
    return held


def _load(source: Source, device: int, shared: int) -> Kernel:
    with _lock:
        if (source, device, shared) not in _kernels:
            torch.cuda.init()
            built = image(source, torch.cuda.get_device_capability(device), nvrtc.compiler())
            _kernels[source, device, shared] = Kernel(built, source.name, device, shared)
        return _kernels[source, device, shared]


def _find_obstacle(index: int) -> str | None:
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    capability = torch.cuda.get_device_capability(index)
    if capability < OLDEST:
        return f"cuda:{index} has compute capability {capability[0]}.{capability[1]}, the kernels need 8.0 or newer"
    try:
        driver.library()
        nvrtc.compiler().target(capability)
    except (OSError, RuntimeError) as error:
        return f"{error}"
    return None
