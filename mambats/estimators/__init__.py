"""Classical estimators: batched, differentiable, the same numbers in batch and sample by sample."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.estimators.attitude import Attitude, Attitudes, AttitudeState
    from mambats.estimators.gyro_bias import GyroBias, Rest

__all__ = ["Attitude", "AttitudeState", "Attitudes", "GyroBias", "Rest"]

_HOMES = {
    "Attitude": "attitude",
    "AttitudeState": "attitude",
    "Attitudes": "attitude",
    "GyroBias": "gyro_bias",
    "Rest": "gyro_bias",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
