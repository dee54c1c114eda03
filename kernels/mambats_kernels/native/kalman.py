"""The argument block of native Kalman filters, field by field as `kalman.h` has it."""

import ctypes

_NUMBERS = ("rows", "states", "measured", "threads", "wide", "predicts", "each_f", "each_q", "each_h", "each_r")
_INPUTS = ("x", "p", "z", "f", "q", "h", "r", "gate", "mask")
_RESULTS = ("mean", "covariance", "residual", "innovation", "nis", "likelihood", "used")


class Kalman(ctypes.Structure):
    """Sizes and strides as int64, then addresses."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in (*_INPUTS, *_RESULTS)),
    ]
