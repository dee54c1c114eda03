"""The argument block of the scan's CUDA kernels, field by field as `scan.cuh` has it."""

import ctypes

LINES = ("x", "dt", "z", "dy", "B", "C", "y", "dx", "ddt", "dz", "dC", "dB")
_PARTS = ("", "_row", "_token", "_group")
_SIZES = (
    "rows", "tokens", "width", "inner", "groups", "sequences", "chunk", "chunks", "offset", "room", "fine", "fines",
)  # fmt: skip
_POINTERS = (
    "A", "D", "bias", "gaps", "initial", "dfinal", "borders", "marks", "final", "saved", "carry", "spans",
    "partial", "sums", "dA", "dD", "dbias", "dinitial", "dgaps", "A_back", "dA_back",
)  # fmt: skip


class Arguments(ctypes.Structure):
    """Of each sequence its address and strides of row, token and group in elements; sizes; addresses, 0 for absent."""

    _fields_ = [
        *[(name + part, ctypes.c_int64 if part else ctypes.c_void_p) for name in LINES for part in _PARTS],
        *[(name, ctypes.c_int64) for name in _SIZES],
        *[(name, ctypes.c_void_p) for name in _POINTERS],
    ]
