"""Values inside nested containers (of a pickle, of JSON), each with the way to it, so that a fault can be named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError

Matrix = npt.NDArray[np.float64]
ROUNDED = 1e-3  # how far from orthonormal a rotation may be: four printed digits


class Nested:
    """A value and the way to it.

    Args:
        value: Whatever stands there.
        where: File and keys, for messages.
    """

    def __init__(self, value: Any, where: str) -> None:
        self.value = value
        self.where = where

    def at(self, key: str | int, kind: type | None = None) -> Nested:
        """Go one key or index deeper.

        Raises:
            DataError: If there is none, or it is not of the kind asked for.
        """
        where = f"{self.where}[{key!r}]"
        try:
            found = Nested(self.value[key], where)
        except (KeyError, IndexError, TypeError) as error:
            held = cast(Mapping[Any, Any], self.value) if isinstance(self.value, Mapping) else None
            has = f"a {type(self.value).__name__}" if held is None else f"keys {', '.join(map(str, held))}"
            raise DataError(f"{where} is missing, there are {has}.") from error
        if kind is not None and not isinstance(found.value, kind):
            raise DataError(f"{where} is a {type(found.value).__name__}, needed a {kind.__name__}.")
        return found

    def number(self) -> float:
        """Return the value as a number.

        Raises:
            DataError: If it is none.
        """
        if not isinstance(self.value, int | float | np.number):
            raise DataError(f"{self.where} is {self.value!r}, needed a number.")
        try:
            return float(cast(float, self.value))
        except OverflowError as error:
            raise DataError(f"{self.where} is {self.value!r}, needed a number that float64 holds.") from error

    def matrix(self, key: str, size: int) -> Matrix:
        """Return the square matrix under a key.

        Raises:
            DataError: If it has another shape or is not finite.
        """
        entry = self.at(key)
        try:
            made = np.asarray(entry.value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            made = np.zeros(0)
        if made.shape != (size, size) or not np.isfinite(made).all():
            raise DataError(f"{entry.where} has shape {made.shape}, needed {size} x {size} finite numbers.")
        return made

    def rigid(self, key: str) -> Matrix:
        """Return the rigid transform under a key, shape (4, 4).

        Raises:
            DataError: If it is none.
        """
        made = self.matrix(key, 4)
        turn = made[:3, :3]
        with np.errstate(over="ignore", invalid="ignore"):  # a damaged number may be huge
            whole = np.allclose(turn @ turn.T, np.eye(3), atol=ROUNDED) and np.linalg.det(turn) > 0
        if not whole or made[3].tolist() != [0, 0, 0, 1]:
            raise DataError(f"{self.where}[{key!r}] is no rigid transform: {made.tolist()}.")
        return made
