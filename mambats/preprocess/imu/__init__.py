"""Inertial sensors: preintegration, calibration of the sensor itself, Allan deviation.

Names are loaded when first used, so that calibration needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.preprocess.imu.allan import AllanFit, allan_variance, fit_allan
    from mambats.preprocess.imu.allan_plot import draw_allan
    from mambats.preprocess.imu.calibration import CalibrationFit, ImuCalibration, NotEnoughMotionError
    from mambats.preprocess.imu.intrinsics import ImuIntrinsics
    from mambats.preprocess.imu.preintegration import Preintegrated, Preintegration, compose
    from mambats.preprocess.imu.stillness import StillDetector

__all__ = [
    "AllanFit",
    "CalibrationFit",
    "ImuCalibration",
    "ImuIntrinsics",
    "NotEnoughMotionError",
    "Preintegrated",
    "Preintegration",
    "StillDetector",
    "allan_variance",
    "compose",
    "draw_allan",
    "fit_allan",
]

_HOMES = {
    "AllanFit": "allan",
    "CalibrationFit": "calibration",
    "ImuCalibration": "calibration",
    "ImuIntrinsics": "intrinsics",
    "NotEnoughMotionError": "calibration",
    "Preintegrated": "preintegration",
    "Preintegration": "preintegration",
    "StillDetector": "stillness",
    "allan_variance": "allan",
    "compose": "preintegration",
    "draw_allan": "allan_plot",
    "fit_allan": "allan",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
