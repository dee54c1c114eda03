"""Scores of trajectories: ATE, RPE, drift, RoNIN's and KITTI's own, and consistency of covariances."""

from mambats.calibration.metrics import NEES, NIS, IntervalCoverage
from mambats.odometry.metrics.alignment import Alignment, Similarity, fit_alignment
from mambats.odometry.metrics.error import absolute_errors, pairs_apart, relative_errors, turn_angle
from mambats.odometry.metrics.kitti import KittiSegments
from mambats.odometry.metrics.ronin import RoninATE, RoninRTE
from mambats.odometry.metrics.scores import ATE, RPE, Drift
from mambats.odometry.metrics.trajectory import Trajectory, associate

__all__ = [
    "ATE",
    "Alignment",
    "Drift",
    "IntervalCoverage",
    "KittiSegments",
    "NEES",
    "NIS",
    "RPE",
    "RoninATE",
    "RoninRTE",
    "Similarity",
    "Trajectory",
    "absolute_errors",
    "associate",
    "fit_alignment",
    "pairs_apart",
    "relative_errors",
    "turn_angle",
]
