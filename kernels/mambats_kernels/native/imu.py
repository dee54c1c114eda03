"""The argument block of native preintegration, field by field as `imu.h` has it."""

import ctypes

_NUMBERS = ("rows", "samples", "threads", "wide", "errors")
_DENSITIES = ("gyro", "force", "integration")
_INPUTS = ("rates", "forces", "steps", "bias")
_RESULTS = ("duration", "quaternion", "velocity", "position", "jacobian", "covariance")


class Imu(ctypes.Structure):
    """Sizes and options as int64, squared densities of noise as double, then addresses."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in _NUMBERS),
        *((name, ctypes.c_double) for name in _DENSITIES),
        *((name, ctypes.c_void_p) for name in (*_INPUTS, *_RESULTS)),
    ]
