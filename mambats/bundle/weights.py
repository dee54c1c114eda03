"""Matrices stored in fewer bits: bfloat16, or int8 with one scale a row. What is computed with is what is stored.

Rounded are the weights of linear maps alone (two axes, named `.weight`). State-space parameters (A, the step sizes'
projection and bias, D), convolutions, norms, biases and scalings stay float32: they are few, and errors of A and of
step sizes add up along time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mambats.bundle.layout import WEIGHT

Stored = Literal["float32", "bf16", "int8"]
STORED: tuple[Stored, ...] = get_args(Stored)
_LEAST = np.float32(1e-30)  # of a scale: rows below are 0, for engines differ in numbers too small for full precision
_BF16, _INT8, _SCALE = "bf16.", "int8.", "scale."
Arrays = Mapping[str, npt.NDArray[Any]]


def is_matrix(name: str, array: npt.NDArray[Any]) -> bool:
    """Whether a weight is stored in fewer bits."""
    kept = name.endswith("dt_proj.weight") or not name.endswith(".weight")
    return array.ndim == 2 and array.dtype == np.float32 and not kept


def to_bf16(array: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round to the nearest bfloat16, ties to even; the upper half of a float32's bits."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def to_int8(array: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Round each row to multiples of its own scale, at most 127 of them either way.

    Args:
        array: Shape (out, in).

    Returns:
        Multiples (out, in), and scales (out,) of 8 significant bits: each product is then exact in float32, so every
        engine computes with the same numbers, and rounding them again changes nothing.
    """
    # To the nearest bfloat16: within 1/512, so the largest number of a row is 127 of them and gives this scale again.
    scale = (to_bf16(np.abs(array).max(1) / np.float32(127)).astype(np.uint32) << 16).view(np.float32)
    scale[scale < _LEAST] = 0
    whole = np.where(scale[:, None] > 0, np.rint(array / np.where(scale > 0, scale, 1)[:, None]), 0)
    return whole.astype(np.int8), scale


def rounded(array: npt.NDArray[np.float32], stored: Stored) -> npt.NDArray[np.float32]:
    """Return the numbers that are left of a matrix when it is stored so."""
    if stored == "bf16":
        return (to_bf16(array).astype(np.uint32) << 16).view(np.float32)
    if stored == "int8":
        whole, scale = to_int8(array)
        return whole.astype(np.float32) * scale[:, None]
    return array


def packed(arrays: Arrays, stored: Stored) -> dict[str, npt.NDArray[Any]]:
    """Return a bundle's arrays as its file holds them; weights must be `rounded` already."""
    found = dict[str, npt.NDArray[Any]]()
    for name, array in arrays.items():
        if stored == "float32" or not name.startswith(WEIGHT) or not is_matrix(name, array):
            found[name] = array
        elif stored == "bf16":
            found[_BF16 + name] = to_bf16(array)
        else:
            found[_INT8 + name], found[_SCALE + name] = to_int8(array)
    return found


def unpacked(arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Return arrays as they were before `packed`.

    Raises:
        ValueError: If a stored matrix has no scales of its rows, or other types.
    """
    found = dict[str, npt.NDArray[Any]]()
    for name, array in arrays.items():
        if name.startswith(_BF16):
            if array.dtype != np.uint16:
                raise ValueError(f"{name} is {array.dtype}, need the upper halves of float32, uint16.")
            found[name.removeprefix(_BF16)] = (array.astype(np.uint32) << 16).view(np.float32)
        elif name.startswith(_INT8):
            plain = name.removeprefix(_INT8)
            scale = arrays.get(_SCALE + plain)
            if scale is None or array.dtype != np.int8 or scale.shape != array.shape[:1] or scale.dtype != np.float32:
                raise ValueError(f"{name} has no scale a row: need int8 (rows, columns) and float32 (rows,).")
            found[plain] = array.astype(np.float32) * scale[:, None]
        elif not name.startswith(_SCALE):
            found[name] = array
    return found
