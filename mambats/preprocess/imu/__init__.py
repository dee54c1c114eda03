"""Inertial sensors: preintegration, calibration of the sensor itself, Allan deviation."""

from mambats.preprocess.imu.preintegration import Preintegrated, Preintegration, compose

__all__ = ["Preintegrated", "Preintegration", "compose"]
