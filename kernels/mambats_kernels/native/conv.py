"""The argument block of the native convolution, field by field as `conv.h` has it."""

import ctypes

_NUMBERS = ("rows", "tokens", "width", "taps", "threads", "silu", "reverse")
_INPUTS = ("x", "weight", "bias", "initial", "borders", "mask")
_RESULTS = ("y", "final")
_SLOPES = ("dy", "dfinal", "dx", "dweight", "dbias", "dinitial")


class Conv(ctypes.Structure):
    """Sizes and options as int64, then addresses, 0 where an option is absent."""

    _fields_ = [(name, ctypes.c_int64) for name in _NUMBERS] + [
        (name, ctypes.c_void_p) for name in (*_INPUTS, *_RESULTS, *_SLOPES)
    ]
