"""Forecasts as rows of a table: a point for each channel and step, and its quantiles."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TextIO

import numpy as np
import numpy.typing as npt

Forecast = npt.NDArray[np.floating[Any]]


def point_of(forecast: Forecast, quantiles: Sequence[float] | None) -> Forecast:
    """Return the point (K, C) of a forecast (K, C[, Q]): itself, or the median drawn straight between levels.

    It is `mambats.forecast.metrics.point_forecast` without torch.
    """
    if quantiles is None:
        return forecast
    above = next((i for i, level in enumerate(quantiles) if level >= 0.5), len(quantiles) - 1)
    below = max(above - 1, 0)
    if above == below or quantiles[above] <= 0.5:
        return forecast[..., above]
    share = (0.5 - quantiles[below]) / (quantiles[above] - quantiles[below])
    return forecast[..., below] + share * (forecast[..., above] - forecast[..., below])


class ForecastRows:
    """Write forecasts as CSV (columns CHANNEL_hSTEP and CHANNEL_hSTEP_qLEVEL) or JSON lines.

    Args:
        sink: Open text.
        kind: Format.
        channels: Names, C.
        quantiles: Levels, or None.
        header: Whether a CSV file's header is still to be written.
    """

    def __init__(
        self,
        sink: TextIO,
        kind: Literal["csv", "jsonl"],
        channels: Sequence[str],
        quantiles: Sequence[float] | None,
        header: bool = True,
    ) -> None:
        self.sink, self.kind, self.channels, self.quantiles, self.header = sink, kind, channels, quantiles, header
        self._table = csv.writer(sink, lineterminator="\n")

    def write(self, keys: Mapping[str, Any], forecast: Forecast) -> None:
        """Write one forecast.

        Args:
            keys: What tells the row: series, time, number.
            forecast: Shape (K, C), or (K, C, Q) with quantiles.
        """
        points = point_of(forecast, self.quantiles)
        if self.kind == "jsonl":
            self._write_json(keys, points, forecast)
        else:
            self._write_csv(keys, points, forecast)
        self.sink.flush()

    def _write_json(self, keys: Mapping[str, Any], points: Forecast, forecast: Forecast) -> None:
        row = dict(keys) | {"forecast": {c: points[:, i].tolist() for i, c in enumerate(self.channels)}}
        if self.quantiles is not None:
            row["quantiles"] = {
                str(q): {c: forecast[:, i, n].tolist() for i, c in enumerate(self.channels)}
                for n, q in enumerate(self.quantiles)
            }
        self.sink.write(json.dumps(row) + "\n")

    def _write_csv(self, keys: Mapping[str, Any], points: Forecast, forecast: Forecast) -> None:
        parts = {"": points} | {f"_q{q}": forecast[:, :, n] for n, q in enumerate(self.quantiles or ())}
        if self.header:
            names = [f"{c}_h{k + 1}{end}" for end, v in parts.items() for c in self.channels for k in range(v.shape[0])]
            self._table.writerow([*keys, *names])
            self.header = False
        numbers = [f"{x:.9g}" for values in parts.values() for x in values.T.ravel()]
        self._table.writerow([*keys.values(), *numbers])
