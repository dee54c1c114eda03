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
    from mambats.preprocess.clock import CannotTellError, ClockAlignment, ClockFit
    from mambats.preprocess.image import (
        Camera,
        CropPad,
        ImageSteps,
        Normalise,
        Resize,
        Step,
        Undistort,
    )
    from mambats.preprocess.imu import Preintegrated, Preintegration
    from mambats.preprocess.lidar import (
        CropBox,
        CropRange,
        Deskew,
        FixedFrame,
        GroundRemoval,
        Projected,
        RangeImage,
        VoxelGrid,
        Voxels,
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
        move_pose,
        rep_findings,
    )

__all__ = [
    "BandFilter",
    "Camera",
    "CannotTellError",
    "Carried",
    "ChiSquareGate",
    "ClockAlignment",
    "ClockFit",
    "ConventionError",
    "CropBox",
    "CropPad",
    "CropRange",
    "DegenerateError",
    "Derivative",
    "Deskew",
    "Exponential",
    "FixedFrame",
    "Gated",
    "GroundRemoval",
    "Hampel",
    "ImageSteps",
    "IntoFrame",
    "MoveImu",
    "MovingAverage",
    "Normalise",
    "Notch",
    "OfflineOnlyError",
    "OnStream",
    "Plane",
    "PoseTrack",
    "Preintegrated",
    "Preintegration",
    "Projected",
    "RangeGate",
    "RangeImage",
    "RansacPlane",
    "RateGate",
    "Resize",
    "RunningMedian",
    "SavitzkyGolay",
    "Sections",
    "Step",
    "Stuck",
    "Undistort",
    "VoxelGrid",
    "Voxels",
    "ZeroPhase",
    "check_gravity",
    "move_pose",
    "rep_findings",
]

_HOMES = {
    "BandFilter": "signal",
    "Camera": "image",
    "CannotTellError": "clock",
    "Carried": "carried",
    "ChiSquareGate": "outliers",
    "ClockAlignment": "clock",
    "ClockFit": "clock",
    "ConventionError": "transform",
    "CropBox": "lidar",
    "CropPad": "image",
    "CropRange": "lidar",
    "DegenerateError": "outliers",
    "Derivative": "signal",
    "Deskew": "lidar",
    "Exponential": "signal",
    "FixedFrame": "lidar",
    "Gated": "outliers",
    "GroundRemoval": "lidar",
    "Hampel": "outliers",
    "ImageSteps": "image",
    "IntoFrame": "transform",
    "MoveImu": "transform",
    "MovingAverage": "signal",
    "Normalise": "image",
    "Notch": "signal",
    "OfflineOnlyError": "carried",
    "OnStream": "signal",
    "Plane": "outliers",
    "PoseTrack": "transform",
    "Preintegrated": "imu",
    "Preintegration": "imu",
    "Projected": "lidar",
    "RangeGate": "outliers",
    "RangeImage": "lidar",
    "RansacPlane": "outliers",
    "RateGate": "outliers",
    "Resize": "image",
    "RunningMedian": "signal",
    "SavitzkyGolay": "signal",
    "Sections": "signal",
    "Step": "image",
    "Stuck": "outliers",
    "Undistort": "image",
    "VoxelGrid": "lidar",
    "Voxels": "lidar",
    "ZeroPhase": "signal",
    "check_gravity": "transform",
    "move_pose": "transform",
    "rep_findings": "transform",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
