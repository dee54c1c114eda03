"""Odometry: pose, velocity and their covariance from streams of sensors.

`OdometryTask` and its report need Lightning; they are loaded when first asked for, so that a robot that runs a
navigator does not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.odometry.bank import FilterBank
    from mambats.odometry.contest import Contest, hold_contest
    from mambats.odometry.degrade import Degradation, degradation
    from mambats.odometry.faults import Fault, RandomFaults, standard_faults
    from mambats.odometry.head import BeliefHead
    from mambats.odometry.losses import GaussianLoss
    from mambats.odometry.navigation import Navigation
    from mambats.odometry.navigator import Navigator
    from mambats.odometry.report import OdometryReport
    from mambats.odometry.task import OdometryTask

__all__ = [
    "BeliefHead",
    "Contest",
    "Degradation",
    "Fault",
    "FilterBank",
    "GaussianLoss",
    "Navigation",
    "Navigator",
    "OdometryReport",
    "OdometryTask",
    "RandomFaults",
    "degradation",
    "hold_contest",
    "standard_faults",
]

_HOMES = {
    "BeliefHead": "head",
    "Contest": "contest",
    "Degradation": "degrade",
    "Fault": "faults",
    "FilterBank": "bank",
    "GaussianLoss": "losses",
    "Navigation": "navigation",
    "Navigator": "navigator",
    "OdometryReport": "report",
    "OdometryTask": "task",
    "RandomFaults": "faults",
    "degradation": "degrade",
    "hold_contest": "contest",
    "standard_faults": "faults",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
