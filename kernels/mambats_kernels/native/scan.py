"""The argument block of the native scan, field by field as `scan.h` has it."""

import ctypes

import torch
from torch import Tensor

_NUMBERS = ("rows", "tokens", "width", "groups", "states", "chunk", "threads", "softplus", "hold", "reverse")
_INPUTS = ("x", "dt", "A", "B", "C", "D", "z", "bias", "gaps", "initial", "borders", "mask")
_RESULTS = ("y", "final", "saved")
_SLOPES = ("dy", "dfinal", "dx", "ddt", "dA", "dB", "dC", "dD", "dz", "dbias", "dgaps", "dinitial")


class Scan(ctypes.Structure):
    """Sizes and options as int64, then addresses, 0 where an option is absent."""

    _fields_ = [(name, ctypes.c_int64) for name in _NUMBERS] + [
        (name, ctypes.c_void_p) for name in (*_INPUTS, *_RESULTS, *_SLOPES)
    ]


def address(tensor: Tensor | None) -> int | None:
    """Where the numbers of a contiguous CPU tensor begin; None for None."""
    return None if tensor is None else tensor.data_ptr()


def ready(tensor: Tensor | None) -> Tensor | None:
    """The same numbers as the library reads them: contiguous float32 on the CPU."""
    if tensor is None or (tensor.dtype == torch.float32 and tensor.is_contiguous()):
        return tensor
    return tensor.to(torch.float32).contiguous()
