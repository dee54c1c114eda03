"""The argument block of the scan's CUDA kernels, field by field as `scan.cuh` has it."""

import ctypes

_SIZES = ("rows", "tokens", "width", "groups", "sequences", "chunk", "chunks")
_STRIDES = (
    "x_row", "x_token", "dt_row", "dt_token", "z_row", "z_token", "dy_row", "dy_token",
    "b_row", "b_token", "b_group", "c_row", "c_token", "c_group",
)  # fmt: skip
_POINTERS = (
    "x", "dt", "z", "dy", "B", "C", "A", "D", "bias", "gaps", "initial", "dfinal", "borders", "marks", "y", "final",
    "saved", "carry", "spans", "dx", "ddt", "dz", "dB", "dC", "partial", "sums", "dA", "dD", "dbias", "dinitial", "dgaps",
)  # fmt: skip


class Arguments(ctypes.Structure):
    """Sizes and strides (in elements) as int64, then addresses, 0 where an option is absent."""

    _fields_ = [(name, ctypes.c_int64) for name in (*_SIZES, *_STRIDES)] + [
        (name, ctypes.c_void_p) for name in _POINTERS
    ]
