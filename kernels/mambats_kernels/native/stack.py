"""The blocks of a stack's step, field by field as `stack.h` has them."""

import ctypes
import struct

WEIGHTS = (
    "norm", "in_proj", "conv_weight", "conv_bias", "x_proj", "dt_proj", "dt_bias", "A_log", "D", "out_proj"
)  # fmt: skip
_NUMBERS = ("batch", "channels", "width", "layers", "inner", "states", "taps", "rank", "hold", "threads")


class Layer(ctypes.Structure):
    """Addresses of one layer's weights, 0 where there is no convolution."""

    _fields_ = [(name, ctypes.c_void_p) for name in WEIGHTS]


class Stack(ctypes.Structure):
    """What stays from step to step: sizes and options, the addresses of weights, and what is derived of them."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in _NUMBERS),
        ("eps", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("embed", "embed_bias", "norm")),
        ("layer", ctypes.POINTER(Layer)),
        ("derived", ctypes.POINTER(ctypes.c_float)),
    ]


STALE = 2


def token(layers: int) -> struct.Struct:
    """What changes from step to step, a row of addresses: x, gap, observed, mask, y, the state before, the state after.

    A state is pending, fresh, then conv and ssm of each layer.
    """
    return struct.Struct(f"{5 + 2 * (2 + 2 * layers)}P")
