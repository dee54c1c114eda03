"""Forecasting: the model, its head and losses, its metrics and its Lightning task.

`ForecastTask`, `Dense`, `forecast_ahead` and the report need Lightning; they are loaded when first asked for, so that a
robot that runs a forecaster does not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mambats.forecast.cycle import Cycle
from mambats.forecast.head import DirectHead
from mambats.forecast.losses import MAE, MSE, Huber, Pinball
from mambats.forecast.model import Forecaster, ForecasterState, Rows, StreamingError, rows_of
from mambats.forecast.online import OnlineRun
from mambats.forecast.skip import LinearSkip

if TYPE_CHECKING:
    from mambats.forecast.ahead import forecast_ahead
    from mambats.forecast.report import Report
    from mambats.forecast.task import Dense, ForecastTask

__all__ = [
    "MAE",
    "MSE",
    "Cycle",
    "Dense",
    "DirectHead",
    "ForecastTask",
    "Forecaster",
    "ForecasterState",
    "Huber",
    "LinearSkip",
    "OnlineRun",
    "Pinball",
    "Report",
    "Rows",
    "StreamingError",
    "forecast_ahead",
    "rows_of",
]

_LAZY = {"ForecastTask": "task", "Dense": "task", "Report": "report", "forecast_ahead": "ahead"}


def __getattr__(name: str) -> Any:
    """Load what needs Lightning only when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
