"""Inertial navigation without fixes: satellite outages on a drive, and an inertial unit left alone.

Tasks and data modules need Lightning; they are loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mambats.odometry.ins.bias import LearnedBias
from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.flight import Flight
from mambats.odometry.ins.outage import Blackout, Outage, follow, outages

if TYPE_CHECKING:
    from mambats.odometry.ins.bias_task import BiasTask
    from mambats.odometry.ins.outage_task import OutageTask
    from mambats.odometry.ins.starts import FlightData, OutageData

__all__ = [
    "BiasTask",
    "Blackout",
    "Drive",
    "Flight",
    "FlightData",
    "LearnedBias",
    "Outage",
    "OutageData",
    "OutageTask",
    "follow",
    "outages",
]

_HOMES = {"BiasTask": "bias_task", "FlightData": "starts", "OutageData": "starts", "OutageTask": "outage_task"}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
