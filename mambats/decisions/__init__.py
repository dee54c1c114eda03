"""What a planner asks of states and boxes: when bodies meet, which ground is free, where to go. Plain functions."""

from mambats.decisions.box_grid import grid_from_boxes
from mambats.decisions.collision import Collision, time_to_collision
from mambats.decisions.corridor import Corridor, free_corridor
from mambats.decisions.footprint import Boxes, Discs, Footprint
from mambats.decisions.grid import Cells, Occupancy, fuse_grids, moved_grid
from mambats.decisions.lidar_grid import RaySensor, grid_from_rays
from mambats.decisions.tracked import (
    Bodies,
    TrackedBoxes,
    TrackedStates,
    collisions_with,
    corridor_past,
    grid_from_tracks,
)

__all__ = [
    "Bodies",
    "Boxes",
    "Cells",
    "Collision",
    "Corridor",
    "Discs",
    "Footprint",
    "Occupancy",
    "RaySensor",
    "TrackedBoxes",
    "TrackedStates",
    "collisions_with",
    "corridor_past",
    "free_corridor",
    "fuse_grids",
    "grid_from_boxes",
    "grid_from_rays",
    "grid_from_tracks",
    "moved_grid",
    "time_to_collision",
]
