"""Inertial navigation: an error-state filter, its smoother, and how to start it."""

from mambats.estimators.inertial.correct import Gate
from mambats.estimators.inertial.filter import InertialFilter
from mambats.estimators.inertial.schedule import centred
from mambats.estimators.inertial.start import Start
from mambats.estimators.inertial.state import NavigationState, NavigationTrack

__all__ = ["Gate", "InertialFilter", "NavigationState", "NavigationTrack", "Start", "centred"]
