"""What scores are made of: numbers that add up over frames, sequences and machines."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from mambats.track.metrics.scene import Floats


@dataclass(frozen=True)
class Sums:
    """Numbers, or arrays of one shape, by name; they add."""

    def __add__(self, other: Self) -> Self:
        """Return the sums of both."""
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def array(self) -> Floats:
        """Return the numbers as one array, shape (names, ...)."""
        return np.array([getattr(self, f.name) for f in fields(self)], dtype=np.float64)

    @classmethod
    def of(cls, array: Floats) -> Self:
        """Return what `array` was made of."""
        return cls(*array)
