"""Pictures of recordings: all streams on one time axis, LiDAR points on a camera's image.

matplotlib is loaded when the first picture is drawn; no window is ever opened. Names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.pictures.grid import plot_grid
    from mambats.pictures.lidar import plot_lidar_on_image
    from mambats.pictures.projection import Seen, motion_between, project
    from mambats.pictures.recording import plot_recording

__all__ = [
    "Seen",
    "motion_between",
    "plot_grid",
    "plot_lidar_on_image",
    "plot_recording",
    "project",
]

_HOMES = {
    "Seen": "projection",
    "motion_between": "projection",
    "plot_grid": "grid",
    "plot_lidar_on_image": "lidar",
    "plot_recording": "recording",
    "project": "projection",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
