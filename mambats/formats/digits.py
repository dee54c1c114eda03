"""Numbers that are all written alike, to integers: a column of text as a table of digits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

Letters = npt.NDArray[np.uint8]
ZERO, POINT = ord("0"), ord(".")
LONGEST = 19  # digits of the largest int64, 9.2e18; nanoseconds of this century have as many


def text_alike(column: pl.Series, power: int) -> npt.NDArray[np.int64] | None:
    """Return the numbers times 10^power, rounded half up, shape (T,), or None where they are not written alike.

    Rows of one length and point must have their sign and exponent at the same places. On 36,382 stamps of
    seconds it took 5 ms, a regular expression 30.

    Args:
        column: Text.
        power: Of ten, 0 or more.
    """
    if not len(column) or column.null_count():
        return None
    sizes = column.str.len_bytes().to_numpy().astype(np.int64)
    points = column.str.find(".", literal=True).fill_null(0).to_numpy()
    letters = np.frombuffer(column.str.join("").item().encode(), np.uint8)
    if len(letters) != sizes.sum() or not 0 < sizes.min() <= sizes.max() < 1000:
        return None
    starts = np.cumsum(sizes) - sizes
    made = np.empty(len(column), dtype=np.int64)
    kinds = sizes * 1000 + points
    if (kinds == kinds[0]).all():
        return _block(letters.reshape(len(column), -1), power)
    for kind in np.unique(kinds).tolist():
        rows = np.flatnonzero(kinds == kind)
        block = _block(letters[starts[rows, None] + np.arange(kind // 1000)], power)
        if block is None:
            return None
        made[rows] = block
    return made


def _block(letters: Letters, power: int) -> npt.NDArray[np.int64] | None:
    """Numbers of one length."""
    first = letters[0].tobytes().decode("latin-1").lower()
    mantissa, _, exponent = first.partition("e")
    body = mantissa.lstrip("+-")
    start, end = len(mantissa) - len(body), len(mantissa)
    if start > 1 or body.count(".") > 1 or ("e" in first and not exponent.lstrip("+-").isdigit()):
        return None
    fixed = [*range(start), *range(end, letters.shape[1])]
    if fixed and (letters[:, fixed] != letters[0, fixed]).any():
        return None
    dot = mantissa.find(".")
    if dot >= 0 and (letters[:, dot] != POINT).any():
        return None
    digits = [place for place in range(start, end) if place != dot]
    shift = power + (int(exponent[:6]) if exponent else 0) - (end - dot - 1 if dot >= 0 else 0)
    whole = _whole(letters, digits, shift)
    return -whole if whole is not None and mantissa.startswith("-") else whole


def _whole(letters: Letters, digits: list[int], shift: int) -> npt.NDArray[np.int64] | None:
    """The digits as one number times 10^shift, rounded by the first digit that is dropped."""
    kept = len(digits) + min(shift, 0)
    size = kept + max(shift, 0)
    if not digits or kept < 0 or size > LONGEST:
        return None
    cells = np.ascontiguousarray(letters[:, digits].T) - np.uint8(ZERO)  # what is below `0` wraps to above 9
    if cells.max() > 9 or (size == LONGEST and cells[0].max() > 8):
        return None
    made = np.zeros(len(letters), dtype=np.int64)
    for row in cells[:kept]:
        made *= 10
        made += row
    if shift < 0:
        return made + (cells[kept] >= 5)
    return made * 10**shift
