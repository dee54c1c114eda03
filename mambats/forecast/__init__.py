"""Forecasting: the model, its head and losses, its metrics and its Lightning task."""

from mambats.forecast.cycle import Cycle
from mambats.forecast.head import DirectHead
from mambats.forecast.model import Forecaster, ForecasterState, Rows, StreamingError, point, rows_of
from mambats.forecast.skip import LinearSkip

__all__ = [
    "Cycle",
    "DirectHead",
    "Forecaster",
    "ForecasterState",
    "LinearSkip",
    "Rows",
    "StreamingError",
    "point",
    "rows_of",
]
