"""What an engine must know of a forecaster besides its numbers: names, units of time, shapes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
#: The one stream of a forecaster: its channels, then covariates known up to now.
SERIES = "series"


@dataclass(frozen=True)
class ForecastFacts:
    """Plain values that a bundle keeps as JSON.

    Args:
        channels: Names of the channels that are read and forecast, C.
        period_ns: Nanoseconds of a gap of 1.
        horizon: Rows forecast, K.
        quantiles: Levels, Q of them, or None for a point forecast.
        past: Names of covariates known up to now, read after the channels, P.
        calendar: Calendar features of a row and the K after it, see `mambats.data.calendar`.
        clock: Whether the model reads the time of day (a cycle).
    """

    channels: tuple[str, ...]
    period_ns: int
    horizon: int
    quantiles: tuple[float, ...] | None = None
    past: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    clock: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what a row of the stream holds."""
        return (*self.channels, *self.past)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a forecast: (K, C) or (K, C, Q)."""
        levels = () if self.quantiles is None else (len(self.quantiles),)
        return (self.horizon, len(self.channels), *levels)

    def plain(self) -> dict[str, Any]:
        """Return the facts as JSON has them."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> ForecastFacts:
        """Rebuild what `plain` gave.

        Raises:
            ValueError: If a fact is missing, unknown or of another type.
        """
        try:
            given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
            facts = cls(**given)
        except TypeError as error:
            raise ValueError(f"the facts of the forecaster are {sorted(plain)}: {error}. Export it again.") from error
        names = (*facts.channels, *facts.past, *facts.calendar)
        if not all(isinstance(name, str) for name in names) or not (
            isinstance(facts.period_ns, int)
            and isinstance(facts.horizon, int)
            and min(facts.period_ns, facts.horizon) > 0
        ):
            raise ValueError(f"the facts of the forecaster are {plain}: need names, and a period and horizon above 0.")
        return facts


def fingerprint(facts: Mapping[str, Any], weights: Arrays) -> str:
    """Return the sha256 of a model: its facts and every weight, in the order of names."""
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()
