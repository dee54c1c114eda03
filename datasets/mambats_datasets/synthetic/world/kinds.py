"""What stands and moves in the world: classes, their sizes, speeds, materials and colours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.chance import normal


@dataclass(frozen=True)
class Kind:
    """One class of object.

    Args:
        name: Word for it, as detections and labels have it.
        size: Mean length, width and height, metres.
        spread: Standard deviation of the sizes as a share of the mean.
        speed: Lowest and highest mean speed, m/s.
        curvature: Standard deviation of the path's curvature, 1/m.
        reflectivity: Share of a LiDAR's light that comes back at normal incidence, 0 to 1.
        colour: Red, green, blue, 0 to 1.
    """

    name: str
    size: tuple[float, float, float]
    spread: float
    speed: tuple[float, float]
    curvature: float
    reflectivity: float
    colour: tuple[float, float, float]


# Sizes of what moves are the anchors of PointPillars (Lang et al., CVPR 2019, section 4.1), which are KITTI's means.
KINDS = (
    Kind("ground", (0.0, 0.0, 0.0), 0.0, (0.0, 0.0), 0.0, 0.25, (0.40, 0.40, 0.38)),
    Kind("building", (14.0, 10.0, 9.0), 0.25, (0.0, 0.0), 0.0, 0.45, (0.70, 0.55, 0.42)),
    Kind("wall", (12.0, 0.3, 2.0), 0.25, (0.0, 0.0), 0.0, 0.35, (0.55, 0.60, 0.50)),
    Kind("pole", (0.3, 0.3, 5.0), 0.10, (0.0, 0.0), 0.0, 0.60, (0.75, 0.75, 0.20)),
    Kind("car", (3.9, 1.6, 1.56), 0.08, (2.0, 14.0), 0.005, 0.70, (0.20, 0.35, 0.80)),
    Kind("pedestrian", (0.8, 0.6, 1.73), 0.08, (0.4, 1.8), 0.05, 0.40, (0.80, 0.20, 0.25)),
    Kind("cyclist", (1.76, 0.6, 1.73), 0.08, (2.5, 6.5), 0.02, 0.45, (0.20, 0.70, 0.35)),
)
LABELS = tuple(kind.name for kind in KINDS)
GROUND, BUILDING, WALL, POLE, CAR, PEDESTRIAN, CYCLIST = range(len(KINDS))
STANDING, MOVING = (BUILDING, WALL, POLE), (CAR, PEDESTRIAN, CYCLIST)


def table(column: str, like: Tensor) -> Tensor:
    """Return one column of `KINDS` as a tensor (7,) or (7, n), on the device and in the dtype of `like`."""
    return torch.tensor([getattr(kind, column) for kind in KINDS], device=like.device, dtype=like.dtype)


def draw_sizes(kind: Tensor, generator: torch.Generator) -> Tensor:
    """Draw lengths, widths and heights (..., 3) in metres for objects of kinds (...), within two deviations."""
    noise = normal(generator, *kind.shape, 3).clamp(-2, 2)
    return table("size", noise)[kind] * (1 + table("spread", noise)[kind][..., None] * noise)
