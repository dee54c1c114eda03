"""What every stream has: a rising clock of int64 nanoseconds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Stamps = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
BLOCK = 1 << 18  # rows looked at in one go: a mapped clock of 10 h at 1 kHz is checked within a few MB


def check_clock(stamps: Stamps) -> None:
    """Refuse stamps that are not int64 nanoseconds in a row, or do not rise.

    Raises:
        ValueError: If they are; names the row.
    """
    if stamps.ndim != 1 or stamps.dtype != np.int64:
        raise ValueError(
            f"stamps are {stamps.dtype} of shape {stamps.shape}, needed int64 nanoseconds of shape (T,): "
            "convert seconds with `(seconds * 1e9).round().astype('int64')`."
        )
    for start in range(0, len(stamps), BLOCK):
        part = stamps[start : start + BLOCK + 1]
        bad = np.flatnonzero(part[1:] <= part[:-1])
        if bad.size:
            row = start + int(bad[0]) + 1
            raise ValueError(
                f"stamps do not rise at row {row}: {stamps[row - 1]} then {stamps[row]} ns. "
                "Sort the rows and drop duplicates first."
            )
