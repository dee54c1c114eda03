"""Data: panels of series, splits, windows, and the Lightning data module.

Names are loaded when first used, so that a machine without polars can train from a cache and a machine without
Lightning can compute calendar features.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.data.align import Events, Match, hold, linear, match, merge, resample
    from mambats.data.cache import Cached, write_cache
    from mambats.data.calendar import calendar_features
    from mambats.data.cases import Case, CaseBatch, CaseSet
    from mambats.data.cases_module import CasesDataModule, Holdout
    from mambats.data.frame import Frame
    from mambats.data.module import Loading, Run, WindowDataModule
    from mambats.data.panel import Panel
    from mambats.data.sensor_module import SensorDataModule
    from mambats.data.sensor_windows import SensorWindows
    from mambats.data.split import Borders, Dates, Fractions
    from mambats.data.table import Table
    from mambats.formats.error import DataError
    from mambats.formats.roles import Reading

__all__ = [
    "Borders",
    "Cached",
    "Case",
    "CaseBatch",
    "CaseSet",
    "CasesDataModule",
    "DataError",
    "Dates",
    "Events",
    "Fractions",
    "Frame",
    "Holdout",
    "Loading",
    "Match",
    "Panel",
    "Reading",
    "Run",
    "SensorDataModule",
    "SensorWindows",
    "Table",
    "WindowDataModule",
    "calendar_features",
    "hold",
    "linear",
    "match",
    "merge",
    "resample",
    "write_cache",
]

_HOMES = {
    "Borders": "mambats.data.split",
    "Cached": "mambats.data.cache",
    "Case": "mambats.data.cases",
    "CaseBatch": "mambats.data.cases",
    "CaseSet": "mambats.data.cases",
    "CasesDataModule": "mambats.data.cases_module",
    "DataError": "mambats.formats.error",
    "Dates": "mambats.data.split",
    "Fractions": "mambats.data.split",
    "Events": "mambats.data.align",
    "Frame": "mambats.data.frame",
    "Holdout": "mambats.data.cases_module",
    "Loading": "mambats.data.module",
    "Match": "mambats.data.align",
    "Panel": "mambats.data.panel",
    "Reading": "mambats.formats.roles",
    "Run": "mambats.data.run",
    "SensorDataModule": "mambats.data.sensor_module",
    "SensorWindows": "mambats.data.sensor_windows",
    "Table": "mambats.data.table",
    "WindowDataModule": "mambats.data.module",
    "calendar_features": "mambats.data.calendar",
    "hold": "mambats.data.align",
    "linear": "mambats.data.align",
    "match": "mambats.data.align",
    "merge": "mambats.data.align",
    "resample": "mambats.data.align",
    "write_cache": "mambats.data.cache",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
