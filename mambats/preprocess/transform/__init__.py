"""Rigid motions, and what sensors measured seen from another frame."""

from mambats.preprocess.transform.conventions import ConventionError, check_gravity, rep_findings
from mambats.preprocess.transform.imu import MoveImu
from mambats.preprocess.transform.into import IntoFrame, move_pose, rotate_covariance
from mambats.preprocess.transform.rigid import (
    compose,
    exp_se3,
    from_poses,
    interpolate,
    invert,
    log_se3,
    move_points,
    to_poses,
    twist_points,
)
from mambats.preprocess.transform.track import PoseTrack

__all__ = [
    "ConventionError",
    "IntoFrame",
    "MoveImu",
    "PoseTrack",
    "check_gravity",
    "compose",
    "exp_se3",
    "from_poses",
    "interpolate",
    "invert",
    "log_se3",
    "move_points",
    "move_pose",
    "rep_findings",
    "rotate_covariance",
    "to_poses",
    "twist_points",
]
