"""Which implementation runs: chosen by device and dtype, forced by environment or argument, and able to say why."""

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from mambats_kernels import cuda, native

# Per family, in order of preference. "reference" is the equation itself and takes everything.
BACKENDS: dict[str, tuple[str, ...]] = {
    "selective_scan": ("cuda", "native", "triton", "torch", "reference"),
    "causal_conv": ("cuda", "native", "torch", "reference"),
}
_WHAT = {
    "cuda": "CUDA C++ built at run time by the NVRTC that torch brings, for NVIDIA GPUs from Ampere on; "
    "once differentiable; not for float64",
    "triton": "Triton, for GPUs where no CUDA kernel runs; once differentiable; not for float64",
    "native": "C++ with vector instructions, for CPUs; once differentiable; not for float64",
    "reference": "the equation token by token; twice differentiable; any dtype and device",
    "torch": "torch operations only, no compiler and no GPU needed; once differentiable; not for float64",
}
ENVIRONMENT = "MAMBATS_BACKEND"


def _checked(name: str | None, source: str) -> str | None:
    if not name:
        return None
    known = sorted({backend for names in BACKENDS.values() for backend in names})
    if name not in known:
        raise ValueError(f"{source} is {name!r}, known back-ends are {', '.join(known)}: take one of them or none.")
    return name


# Read once: an operator that looks into the environment at every call could not be compiled.
_environment = _checked(os.environ.get(ENVIRONMENT), ENVIRONMENT)
_interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # Triton's own switch: its kernels run on a CPU, slowly
_argument: str | None = None


def obstacle(name: str, device: torch.device) -> str | None:
    """Say what keeps a back-end from running on a device; None if nothing does."""
    if name == "native":
        return "native is for CPUs" if device.type != "cpu" else native.missing or None
    if name == "cuda":
        return cuda.obstacle(device)
    if name == "triton" and device.type != "cuda" and not _interpreted:
        return "triton is for GPUs"
    if name == "triton":
        from mambats_kernels.selective_scan import triton  # lazily: it imports Triton, half a second

        return triton.obstacle(device)
    return None


def _home(name: str) -> str:
    """The kind of device on which a back-end must be able to run to be asked for."""
    return "cuda" if name == "cuda" or (name == "triton" and not _interpreted) else "cpu"


@contextmanager
def use_backend(name: str | None) -> Generator[None]:
    """Force a back-end inside a `with` block; it goes before the environment. None gives the choice back.

    A compiled function is compiled anew under another back-end. The choice is the process's, not the thread's.

    Args:
        name: "cuda", "triton", "native", "torch", "reference" or None.

    Raises:
        ValueError: If no back-end has that name, or nothing here can run it; says why.

    Example:
        with use_backend("reference"):
            y, state = selective_scan(x, dt, A, B, C)
    """
    global _argument
    checked = _checked(name, "use_backend's name")
    if checked and (problem := obstacle(checked, torch.device(_home(checked)))):
        raise ValueError(f"use_backend's name is {checked!r}, but {problem}; or take another back-end.")
    before, _argument = _argument, checked
    try:
        yield
    finally:
        _argument = before


def forced() -> tuple[str | None, str | None]:
    """What `use_backend` and the environment ask for, None for nothing."""
    return _argument, _environment


def chosen_backend(family: str, device: torch.device | str, dtype: torch.dtype) -> str:
    """Name the implementation that a call would run.

    Args:
        family: "selective_scan" or "causal_conv".
        device: Where the tensors are.
        dtype: Of the input x; float64 always runs the reference, whatever is forced.

    Returns:
        The back-end's name.

    Raises:
        ValueError: If there is no such family.
    """
    return _choice(family, torch.device(device), dtype)[0]


def _choice(family: str, device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    if family not in BACKENDS:
        raise ValueError(f"family is {family!r}, there are {', '.join(BACKENDS)}: name one of them.")
    if dtype == torch.float64:
        return "reference", "float64 is for judging: always the reference"
    for name, source in ((_argument, "use_backend"), (_environment, ENVIRONMENT)):
        if name is not None and name in BACKENDS[family] and obstacle(name, device) is None:
            return name, f"forced by {source}"
    for name in BACKENDS[family]:
        if obstacle(name, device) is None:
            return name, f"first that can of {', '.join(BACKENDS[family])} on {device.type}"
    return "reference", "nothing else can"


def explain_backend() -> str:
    """Say for every family and each device at hand what runs and why.

    Returns:
        Lines of text: torch's version and threads, the native library, then one line a family, device and dtype.
    """
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    lines = [f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads, {ENVIRONMENT}={_environment or ''}"]
    lines.append(native.told())
    for family in BACKENDS:
        for device in devices:
            for dtype in (torch.float32, torch.float64):
                name, why = _choice(family, torch.device(device), dtype)
                lines.append(f"{family} on {device}, {str(dtype)[6:]}: {name} ({why}): {_WHAT[name]}")
    return "\n".join(lines)
