"""Regression: a number with its interval at every row of a sequence; remaining useful life.

`RegressTask` and the report need Lightning; they are loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mambats.regress.cuts import Cuts
from mambats.regress.head import Estimate, GaussianHead, IntervalHead, QuantileHead
from mambats.regress.metrics import cmapss_score
from mambats.regress.model import Regressor
from mambats.regress.stream_model import StreamRegressor

if TYPE_CHECKING:
    from mambats.regress.report import RegressReport
    from mambats.regress.stream_task import StreamRegressTask
    from mambats.regress.task import RegressTask

__all__ = [
    "Cuts",
    "Estimate",
    "GaussianHead",
    "IntervalHead",
    "QuantileHead",
    "RegressReport",
    "RegressTask",
    "Regressor",
    "StreamRegressTask",
    "StreamRegressor",
    "cmapss_score",
]

_LAZY = {"RegressTask": "task", "RegressReport": "report", "StreamRegressTask": "stream_task"}


def __getattr__(name: str) -> Any:
    """Load what needs Lightning only when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
