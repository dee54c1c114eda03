"""Trajectories with known answers."""

import math

import roma
import torch

from mambats.odometry.metrics import Trajectory

SECOND = 1_000_000_000


def winding(rows=60, rate=10.0):
    """A run that leaves every line and plane, facing where it goes, by formula: the same on every machine."""
    t = torch.arange(rows, dtype=torch.float64) / rate
    position = torch.stack([3 * t, 4 * torch.sin(0.7 * t), 0.5 * torch.cos(1.3 * t)], -1)
    turn = torch.stack([0.2 * torch.sin(t), 0.1 * torch.cos(2 * t), 0.7 * torch.cos(0.7 * t)], -1)
    return Trajectory((t * SECOND).round().long(), position, roma.rotvec_to_unitquat(turn))


def wavering(run, size=1.0):
    """An estimate of a run with errors by formula."""
    t = run.stamps.double() / SECOND
    aside = 0.1 * size * torch.stack([torch.sin(3 * t), torch.cos(2 * t), torch.sin(t + 1)], -1)
    turn = 0.02 * size * torch.stack([torch.cos(t), torch.sin(2 * t), torch.cos(3 * t)], -1)
    return Trajectory(run.stamps, run.position + aside, roma.quat_product(run.rotation, roma.rotvec_to_unitquat(turn)))


def moved(run, turn=(0.3, -1.2, 2.0), shift=(5.0, -3.0, 11.0), scale=1.0):
    """The run in another frame."""
    q = roma.rotvec_to_unitquat(torch.tensor(turn, dtype=torch.float64))
    position = scale * roma.quat_action(q.expand(len(run), 4), run.position) + torch.tensor(shift, dtype=torch.float64)
    rotation = None if run.rotation is None else roma.quat_product(q.expand(len(run), 4), run.rotation)
    return Trajectory(run.stamps, position, rotation)


def along(position, rate=10.0):
    """Positions (T, 3) at a rate, without rotations."""
    stamps = (torch.arange(len(position), dtype=torch.float64) * (SECOND / rate)).round().long()
    return Trajectory(stamps, torch.as_tensor(position, dtype=torch.float64))


DEGREE = math.pi / 180
