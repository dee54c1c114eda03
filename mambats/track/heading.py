"""Angles of boxes, which look the same from both ends: differences within half a turn, and boxes turned to agree."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def wrapped(angle: Tensor) -> Tensor:
    """Return angles within [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def turned_to(yaw: Tensor, near: Tensor) -> Tensor:
    """Return measured yaws unwrapped to lie next to `near`, turned about by pi where they are over 90 degrees off.

    Detectors mistake front for rear; a body does not turn about within a frame.
    """
    return near + least_turn(yaw - near)


def least_turn(away: Tensor) -> Tensor:
    """Return differences of angles within [-pi/2, pi/2]: of boxes that look the same from both ends."""
    return away - math.pi * torch.round(away / math.pi)
