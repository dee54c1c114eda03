"""Boxes from a moving sensor to a world that stands still, and back: a plane, x, y, height and heading.

Poses are (F, 4) float64: x, y, z in metres and yaw in rad of the sensor in the world at each frame. Roll and pitch are
left out: boxes stand upright in both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.detector import Detections, turns
from mambats.track.heading import wrapped
from mambats.track.objects import Objects

SPEED, BEHIND = 7, 10  # where velocities stand in a state, and what comes behind them


def check_poses(poses: Tensor, frames: int) -> Tensor:
    """Return poses as float64.

    Raises:
        ValueError: If there is not one finite pose a frame.
    """
    if poses.shape != (frames, 4) or not bool(poses.isfinite().all()):
        raise ValueError(f"poses have shape {tuple(poses.shape)}: needed ({frames}, 4), finite: x, y, z, yaw a frame.")
    return poses.double()


def to_world(detections: Detections, poses: Tensor) -> Detections:
    """Return detections as seen from the world, with the pose (D, 4) of the sensor at each."""
    turn = _turn(poses, 7)
    boxes = (turn @ detections.boxes[..., None])[..., 0]
    boxes[:, :3] += poses[:, :3]
    boxes[:, 6] = wrapped(boxes[:, 6] + poses[:, 3])
    told = detections.velocity
    velocity = None if told is None else (turn[:, :2, :2] @ told[..., None])[..., 0]
    covariance = turn @ detections.covariance @ turn.mT
    return detections._replace(boxes=boxes, covariance=covariance, velocity=velocity)


def to_sensor(tracks: Objects, poses: Tensor) -> Objects:
    """Return tracks as the sensor sees them, with its pose (F, 4) at each frame; velocities stay those over ground."""
    at = check_poses(poses, len(tracks))[tracks.frames]
    boxes = tracks.boxes.clone()
    boxes[:, :3] -= at[:, :3]
    back = _turn(at, 7).mT
    boxes = (back @ boxes[..., None])[..., 0]
    boxes[:, 6] = wrapped(boxes[:, 6] - at[:, 3])
    velocity, covariance = tracks.velocity, tracks.covariance
    return replace(
        tracks,
        boxes=boxes,
        velocity=None if velocity is None else (back[:, :3, :3] @ velocity[..., None])[..., 0],
        covariance=None if covariance is None else back @ covariance @ back.mT,
    )


def _turn(poses: Tensor, size: int) -> Tensor:
    """Rotations (N, size, size) of a box's numbers by the headings of poses (N, 4)."""
    made = torch.eye(size, dtype=poses.dtype, device=poses.device).repeat(len(poses), 1, 1)
    made[:, :2, :2] = turns(poses[:, 3])
    return made


class Turn(NamedTuple):
    """How states in the world are seen by a sensor: matrix (n, n) times what is left without the offset (n,)."""

    matrix: Tensor
    offset: Tensor


def sensor_turn(pose: Tensor | None, size: int) -> Turn:
    """Return how a sensor at a pose (4,) sees states of `size` numbers; None stands at the origin.

    States begin with a box and its velocity. Behind these a state of 12 numbers or more holds what belongs to the
    place: an acceleration (`ConstantAcceleration`), or the repeated errors of a box (`RepeatedVelocity`), in its
    order. Errors of the place stand in the tracks' axes, since the root of a turned covariance is the turned root, so
    their x and y turn as an acceleration's do; those of sizes and yaw do not, nor does a turn rate (`ConstantTurn`).
    """
    matrix, offset = torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    if pose is not None:
        back = turns(pose[3].double()).mT
        for at in (0, SPEED, BEHIND):
            if at + 2 <= size:
                matrix[at : at + 2, at : at + 2] = back
        offset[:3], offset[6] = pose[:3], pose[3]
    return Turn(matrix, offset)
