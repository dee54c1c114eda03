"""Classical estimators: batched, differentiable, the same numbers in batch and sample by sample."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.estimators.attitude import Attitude, Attitudes, AttitudeState
    from mambats.estimators.cloud import ParticleState
    from mambats.estimators.extended import ExtendedKalmanFilter
    from mambats.estimators.filter import Filter, FilterState, Seen
    from mambats.estimators.fit import Fit, fit_noise
    from mambats.estimators.gate import chi_square
    from mambats.estimators.gyro_bias import GyroBias, Rest
    from mambats.estimators.inertial import Gate, InertialFilter, NavigationState, NavigationTrack, Start, centred
    from mambats.estimators.information import fuse_independent, intersect_covariances
    from mambats.estimators.kalman import KalmanFilter, LinearMotion, LinearSensor, StepMotion
    from mambats.estimators.late import Arrival, LateBuffer
    from mambats.estimators.learned import LearnedNoise, LearnedState, surprise
    from mambats.estimators.models import Motion, Noise, Sensor
    from mambats.estimators.noise import (
        BlockNoise,
        ConstantNoise,
        RandomWalk,
        WhiteAcceleration,
        WhiteJerk,
        check_covariance,
    )
    from mambats.estimators.nonlinear import NonlinearFilter, Transition
    from mambats.estimators.particle import ParticleFilter
    from mambats.estimators.run import Run, filter_window
    from mambats.estimators.sigma import SigmaPoints
    from mambats.estimators.turn import BearingRange, CoordinatedTurn
    from mambats.estimators.unscented import UnscentedKalmanFilter

__all__ = [
    "Arrival",
    "Attitude",
    "AttitudeState",
    "Attitudes",
    "BearingRange",
    "BlockNoise",
    "ConstantNoise",
    "CoordinatedTurn",
    "ExtendedKalmanFilter",
    "Filter",
    "FilterState",
    "Fit",
    "Gate",
    "GyroBias",
    "InertialFilter",
    "KalmanFilter",
    "LateBuffer",
    "LearnedNoise",
    "LearnedState",
    "LinearMotion",
    "LinearSensor",
    "Motion",
    "NavigationState",
    "NavigationTrack",
    "Noise",
    "NonlinearFilter",
    "ParticleFilter",
    "ParticleState",
    "RandomWalk",
    "Rest",
    "Run",
    "Seen",
    "Sensor",
    "SigmaPoints",
    "Start",
    "StepMotion",
    "Transition",
    "UnscentedKalmanFilter",
    "WhiteAcceleration",
    "WhiteJerk",
    "centred",
    "check_covariance",
    "chi_square",
    "filter_window",
    "fit_noise",
    "fuse_independent",
    "intersect_covariances",
    "surprise",
]

_HOMES = {
    "Arrival": "late",
    "Attitude": "attitude",
    "AttitudeState": "attitude",
    "Attitudes": "attitude",
    "BearingRange": "turn",
    "BlockNoise": "noise",
    "ConstantNoise": "noise",
    "CoordinatedTurn": "turn",
    "ExtendedKalmanFilter": "extended",
    "Filter": "filter",
    "FilterState": "filter",
    "Fit": "fit",
    "Gate": "inertial",
    "GyroBias": "gyro_bias",
    "InertialFilter": "inertial",
    "KalmanFilter": "kalman",
    "LateBuffer": "late",
    "LearnedNoise": "learned",
    "LearnedState": "learned",
    "LinearMotion": "kalman",
    "LinearSensor": "kalman",
    "Motion": "models",
    "NavigationState": "inertial",
    "NavigationTrack": "inertial",
    "Noise": "models",
    "NonlinearFilter": "nonlinear",
    "ParticleFilter": "particle",
    "ParticleState": "cloud",
    "RandomWalk": "noise",
    "Rest": "gyro_bias",
    "Run": "run",
    "Seen": "filter",
    "Sensor": "models",
    "SigmaPoints": "sigma",
    "Start": "inertial",
    "StepMotion": "kalman",
    "Transition": "nonlinear",
    "UnscentedKalmanFilter": "unscented",
    "WhiteAcceleration": "noise",
    "WhiteJerk": "noise",
    "centred": "inertial",
    "check_covariance": "noise",
    "chi_square": "gate",
    "filter_window": "run",
    "fit_noise": "fit",
    "fuse_independent": "information",
    "intersect_covariances": "information",
    "surprise": "learned",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
