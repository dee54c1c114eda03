"""Clean what sensors measured: array in, array out, whole or as a stream with the same numbers.

Names are loaded when first used, so that `import mambats.preprocess` needs neither scipy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.preprocess.carried import (
        Carried,
        OfflineOnlyError,
    )
    from mambats.preprocess.outliers import (
        ChiSquareGate,
        DegenerateError,
        Gated,
        Hampel,
        Plane,
        RangeGate,
        RansacPlane,
        RateGate,
        Stuck,
        flag,
    )
    from mambats.preprocess.signal import (
        BandFilter,
        Derivative,
        Exponential,
        MovingAverage,
        Notch,
        OnStream,
        RunningMedian,
        SavitzkyGolay,
        Sections,
        ZeroPhase,
    )
    from mambats.preprocess.transform import (
        ConventionError,
        IntoFrame,
        MoveImu,
        PoseTrack,
        check_gravity,
        compose,
        exp_se3,
        from_poses,
        interpolate,
        invert,
        log_se3,
        move_points,
        move_pose,
        rep_findings,
        rotate_covariance,
        to_poses,
        twist_points,
    )

__all__ = [
    "BandFilter",
    "Carried",
    "ChiSquareGate",
    "ConventionError",
    "DegenerateError",
    "Derivative",
    "Exponential",
    "Gated",
    "Hampel",
    "IntoFrame",
    "MoveImu",
    "MovingAverage",
    "Notch",
    "OfflineOnlyError",
    "OnStream",
    "Plane",
    "PoseTrack",
    "RangeGate",
    "RansacPlane",
    "RateGate",
    "RunningMedian",
    "SavitzkyGolay",
    "Sections",
    "Stuck",
    "ZeroPhase",
    "check_gravity",
    "compose",
    "exp_se3",
    "flag",
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

_HOMES = {
    "BandFilter": "signal",
    "Carried": "carried",
    "ChiSquareGate": "outliers",
    "ConventionError": "transform",
    "DegenerateError": "outliers",
    "Derivative": "signal",
    "Exponential": "signal",
    "Gated": "outliers",
    "Hampel": "outliers",
    "IntoFrame": "transform",
    "MoveImu": "transform",
    "MovingAverage": "signal",
    "Notch": "signal",
    "OfflineOnlyError": "carried",
    "OnStream": "signal",
    "Plane": "outliers",
    "PoseTrack": "transform",
    "RangeGate": "outliers",
    "RansacPlane": "outliers",
    "RateGate": "outliers",
    "RunningMedian": "signal",
    "SavitzkyGolay": "signal",
    "Sections": "signal",
    "Stuck": "outliers",
    "ZeroPhase": "signal",
    "check_gravity": "transform",
    "compose": "transform",
    "exp_se3": "transform",
    "flag": "outliers",
    "from_poses": "transform",
    "interpolate": "transform",
    "invert": "transform",
    "log_se3": "transform",
    "move_points": "transform",
    "move_pose": "transform",
    "rep_findings": "transform",
    "rotate_covariance": "transform",
    "to_poses": "transform",
    "twist_points": "transform",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
