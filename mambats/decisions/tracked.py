"""Decisions straight from what a tracker says: when its tracks are met, which ground they take, where to go past them.

Tracks and boxes of `mambats.track` fit these shapes; nothing of it is imported.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from mambats.decisions.box_grid import grid_from_boxes
from mambats.decisions.collision import Collision, time_to_collision
from mambats.decisions.corridor import Corridor, free_corridor
from mambats.decisions.footprint import Boxes
from mambats.decisions.grid import Cells, Occupancy
from mambats.gaussian import Gaussian

GROUND = (0, 1, 7, 8)  # x, y, vx, vy of a tracker's state: a box's seven numbers, then its velocity


class TrackedStates(Protocol):
    """T tracks at a moment, as `mambats.track.Tracks`: states (T, n) that begin with box and velocity."""

    @property
    def mean(self) -> Tensor:
        """States, shape (T, n): x, y, z, length, width, height, yaw, vx, vy, vz and what else there is."""
        ...

    @property
    def covariance(self) -> Tensor:
        """Of the states, shape (T, n, n)."""
        ...

    @property
    def existence(self) -> Tensor:
        """Log odds that a body is there, shape (T,)."""
        ...


class TrackedBoxes(Protocol):
    """Boxes of frames, as `mambats.track.Objects` that `tell` made."""

    @property
    def splits(self) -> Tensor:
        """Rows of the frames, shape (F + 1,)."""
        ...

    @property
    def boxes(self) -> Tensor:
        """Shape (N, 7)."""
        ...

    @property
    def velocity(self) -> Tensor | None:
        """Shape (N, 3), m/s."""
        ...

    @property
    def covariance(self) -> Tensor | None:
        """Of the boxes, shape (N, 7, 7)."""
        ...


class Bodies(NamedTuple):
    """K bodies around a robot, in its axes: x ahead, y to the left.

    Args:
        motion: x, y, vx, vy against the robot, in m and m/s; mean (K, 4), covariance (K, 4, 4).
        size: Length and width, shape (K, 2), metres.
        yaw: Heading, shape (K,), rad.
        existence: Probability that a body is there, shape (K,).
    """

    motion: Gaussian
    size: Tensor
    yaw: Tensor
    existence: Tensor

    @classmethod
    def of_tracks(cls, tracks: TrackedStates, own: Tensor | None = None) -> Self:
        """Return the bodies of a tracker's state.

        Args:
            tracks: In the robot's axes. Without poses a tracker's velocities are against the sensor.
            own: Velocity of the robot (2,) in its axes, m/s, where those of the tracks are over ground.

        Raises:
            ValueError: If states have no velocity.
        """
        if tracks.mean.ndim != 2 or tracks.mean.shape[1] <= GROUND[-1]:
            raise ValueError(f"states have shape {tuple(tracks.mean.shape)}: needed (T, n) with box and velocity.")
        rows = torch.tensor(GROUND, device=tracks.mean.device)
        mean = tracks.mean[:, rows].clone()
        if own is not None:
            mean[:, 2:] -= own.to(mean)
        covariance = tracks.covariance[:, rows][:, :, rows]
        return cls(Gaussian(mean, covariance), tracks.mean[:, 3:5], tracks.mean[:, 6], tracks.existence.sigmoid())

    @classmethod
    def of_boxes(cls, boxes: TrackedBoxes, frame: int, own: Tensor | None = None, speed: float = 1.0) -> Self:
        """Return the bodies of one frame of boxes that a tracker told of.

        Args:
            boxes: With velocities; without covariances places are exact to a centimetre.
            frame: Which, from 0; -1 is the last.
            own: As of `of_tracks`.
            speed: Deviation of the velocities, m/s, which boxes do not tell.

        Raises:
            ValueError: If there are no velocities, no such frame, or speed is not above 0.
        """
        frames = len(boxes.splits) - 1
        if boxes.velocity is None or not -frames <= frame < frames or speed <= 0:
            raise ValueError(
                f"boxes have {'no' if boxes.velocity is None else 'their'} velocities and {frames} frames, frame is "
                f"{frame}, speed {speed} m/s: needed tracks with velocities, one of their frames, and above 0."
            )
        frame %= frames
        rows = slice(int(boxes.splits[frame]), int(boxes.splits[frame + 1]))
        box, velocity = boxes.boxes[rows], boxes.velocity[rows, :2]
        velocity = velocity if own is None else velocity - own.to(velocity)
        covariance = torch.diag_embed(box.new_tensor([1e-4, 1e-4, speed**2, speed**2]).expand(len(box), 4)).clone()
        if boxes.covariance is not None:
            covariance[:, :2, :2] = boxes.covariance[rows, :2, :2]
        motion = Gaussian(torch.cat([box[:, :2], velocity], -1), covariance)
        return cls(motion, box[:, 3:5], box[:, 6], torch.ones_like(box[:, 6]))


def collisions_with(bodies: Bodies | TrackedStates, robot: tuple[float, float], horizon: float) -> Collision:
    """Return when each body is met if nobody acts, and how likely, its existence counted; both of shape (K,).

    Args:
        bodies: `Bodies`, or a tracker's state in the robot's axes with velocities against it.
        robot: Length and width of the robot, whose middle is the origin, metres.
        horizon: Seconds ahead.

    Raises:
        ValueError: As of `time_to_collision`.

    Example:
        meets = collisions_with(state.tracks, (4.5, 1.9), horizon=3.0)
    """
    bodies = bodies if isinstance(bodies, Bodies) else Bodies.of_tracks(bodies)
    own = bodies.size.new_tensor(robot).expand(len(bodies.yaw), 2)
    met = time_to_collision(bodies.motion, Boxes(own, bodies.size, bodies.yaw), horizon)
    return Collision(met.time, met.probability * bodies.existence)


def grid_from_tracks(
    bodies: Bodies | TrackedStates, cells: Cells, prior: Occupancy | None = None, ahead: float = 0.0
) -> Occupancy:
    """Return which cells the bodies take now, or after some seconds at constant velocity; a batch of one.

    Args:
        bodies: As of `collisions_with`.
        cells: Of the grid.
        prior: What is known without them, a batch of one; None says unknown everywhere.
        ahead: Seconds; what the robot does meanwhile is in the velocities against it.

    Raises:
        ValueError: If ahead is below 0, or as of `grid_from_boxes`.
    """
    if not ahead >= 0:
        raise ValueError(f"ahead is {ahead} s: needed 0 or more.")
    bodies = bodies if isinstance(bodies, Bodies) else Bodies.of_tracks(bodies)
    mean, covariance = bodies.motion
    move = torch.cat([torch.eye(2), ahead * torch.eye(2)], 1).to(mean)
    centre = Gaussian((mean @ move.mT)[None], (move @ covariance @ move.mT)[None])
    return grid_from_boxes(centre, bodies.size[None], bodies.yaw[None], cells, existence=bodies.existence[None],
                           prior=prior)  # fmt: skip


def corridor_past(
    bodies: Bodies | TrackedStates, cells: Cells, width: float, prior: Occupancy, reach: float = 30.0
) -> Corridor:
    """Return the best corridor past the bodies as they stand now; see `free_corridor`.

    Args:
        bodies: As of `collisions_with`.
        cells: Of the grid.
        width: That the robot needs, metres.
        prior: What is known without them, such as of `grid_from_rays`: what nobody looked at blocks.
        reach: Longest corridor of interest, metres.
    """
    return free_corridor(grid_from_tracks(bodies, cells, prior), cells, width, reach=reach)
