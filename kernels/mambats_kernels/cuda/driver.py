"""The few functions of the CUDA driver that load and launch, through ctypes, in the context that torch uses."""

import ctypes
import functools
from collections.abc import Generator
from contextlib import contextmanager

# Numbers of cuda.h.
THREADS, LOCAL, REGISTERS, DYNAMIC = (
    0,
    3,
    4,
    8,
)  # CUfunction_attribute: most threads, local bytes, registers, most shared
CLUSTER = 4  # CUlaunchAttributeID
RELAXED = 2  # CUstreamCaptureMode


class Attribute(ctypes.Structure):
    """CUlaunchAttribute: what it sets, padding, and a value of 64 bytes."""

    _fields_ = (("kind", ctypes.c_uint64), ("value", ctypes.c_uint32 * 16))


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(Attribute)),
        ("count", ctypes.c_uint),
    )


@functools.cache
def library() -> ctypes.CDLL:
    """Load and initialise the driver once.

    Raises:
        OSError: If there is none.
        RuntimeError: If it cannot be initialised.
    """
    found = ctypes.CDLL("libcuda.so.1")
    found.cuDevicePrimaryCtxRetain.argtypes = [ctypes.c_void_p, ctypes.c_int]
    if code := found.cuInit(0):
        raise RuntimeError(f"cuInit failed: {_told(found, code)}")
    return found


def call(function: str, *arguments: object) -> None:
    """Call a function of the driver.

    Raises:
        RuntimeError: If it reports an error; named as the driver names it.
    """
    if code := getattr(library(), function)(*arguments):
        raise RuntimeError(f"{function} failed: {told(code)}")


def told(code: int) -> str:
    """Give the driver's name and words for an error."""
    return _told(library(), code)


def _told(found: ctypes.CDLL, code: int) -> str:
    name, words = ctypes.c_char_p(), ctypes.c_char_p()
    found.cuGetErrorName(code, ctypes.byref(name))
    found.cuGetErrorString(code, ctypes.byref(words))
    return f"{(name.value or b'error').decode()} ({code}): {(words.value or b'no description').decode()}"


@functools.cache
def _primary(device: int) -> ctypes.c_void_p:
    """The context of a device that the runtime, and so torch, works in; held until the process ends."""
    number, context = ctypes.c_int(), ctypes.c_void_p()
    call("cuDeviceGet", ctypes.byref(number), device)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number)
    return context


@contextmanager
def context(device: int) -> Generator[None]:
    """Make a device's context the thread's current one inside a `with` block.

    Args:
        device: Index as torch counts: both leave out what CUDA_VISIBLE_DEVICES hides.
    """
    call("cuCtxPushCurrent_v2", _primary(device))
    try:
        yield
    finally:
        call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


@contextmanager
def capture_allowed() -> Generator[None]:
    """Let modules be loaded inside a `with` block while a graph is captured: loading touches no stream."""
    mode = ctypes.c_int(RELAXED)
    call("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))
    try:
        yield
    finally:
        call("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))
