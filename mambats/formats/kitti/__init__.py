"""KITTI's benchmarks and raw recordings, one layout a module: calibration, tracking, object, odometry, raw.

KITTI is CC BY-NC-SA 3.0: files are read where a user has them and never shipped. Names are loaded when first used.

Source: Geiger, Lenz, Urtasun, Are we ready for autonomous driving? The KITTI vision benchmark suite, CVPR 2012;
    Geiger, Lenz, Stiller, Urtasun, Vision meets robotics: the KITTI dataset, IJRR 2013; the development kits' readme.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.formats.kitti.boxes import CLASSES
    from mambats.formats.kitti.calibration import Calibration, read_calibration, read_raw_calibration
    from mambats.formats.kitti.object import read_object, read_object_labels
    from mambats.formats.kitti.odometry import read_poses, write_poses
    from mambats.formats.kitti.raw import read_raw
    from mambats.formats.kitti.results import write_tracks
    from mambats.formats.kitti.sequence import read_seqmap, read_tracking
    from mambats.formats.kitti.tracking import read_detections, read_detections_2d, read_tracks
    from mambats.formats.kitti.upright import upright_boxes

__all__ = [
    "CLASSES",
    "Calibration",
    "read_calibration",
    "read_detections",
    "read_detections_2d",
    "read_object",
    "read_object_labels",
    "read_poses",
    "read_raw",
    "read_raw_calibration",
    "read_seqmap",
    "read_tracking",
    "read_tracks",
    "upright_boxes",
    "write_poses",
    "write_tracks",
]

_HOMES = {
    "CLASSES": "boxes",
    "Calibration": "calibration",
    "read_calibration": "calibration",
    "read_detections": "tracking",
    "read_detections_2d": "tracking",
    "read_object": "object",
    "read_object_labels": "object",
    "read_poses": "odometry",
    "read_raw": "raw",
    "read_raw_calibration": "calibration",
    "read_seqmap": "sequence",
    "read_tracking": "sequence",
    "read_tracks": "tracking",
    "upright_boxes": "upright",
    "write_poses": "odometry",
    "write_tracks": "results",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
