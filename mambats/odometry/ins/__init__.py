"""Inertial navigation without fixes: satellite outages on a drive, and an inertial unit left alone."""

from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.outage import Outage, follow, outages

__all__ = ["Drive", "Outage", "follow", "outages"]
