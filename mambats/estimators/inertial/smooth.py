"""Rauch, Tung and Striebel's smoother for inertial states: what later measurements say of earlier moments."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators.inertial.correct import inject
from mambats.estimators.inertial.state import NavigationState, settled
from mambats.preprocess.imu import so3


class Passed(NamedTuple):
    """One interval and the moment behind it, as the filter went through them.

    Args:
        before: Behind the measurements of the moment before.
        predicted: At this moment, before its measurements.
        cross: Covariance of the error before with the error predicted, (B, n, n).
        after: Behind this moment's measurements.
    """

    before: NavigationState
    predicted: NavigationState
    cross: Tensor
    after: NavigationState


def apart(one: NavigationState, other: NavigationState) -> Tensor:
    """Return the error (B, n) that moves `other` to `one`."""
    turn = so3.product(so3.conjugate(other.quaternion), one.quaternion)
    sine = turn[:, :3].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, turn[:, 3:].abs())
    turned = turn[:, :3] * torch.where(sine > 1e-8, angle / sine.clamp_min(1e-30), 2.0) * turn[:, 3:].sign()
    return torch.cat(
        [turned, one.velocity - other.velocity, one.position - other.position, one.bias - other.bias,
         one.extra - other.extra], -1
    )  # fmt: skip


def smoothed(passed: list[Passed], stamps: Tensor, lag: float | None) -> list[NavigationState]:
    """Return the states of K moments with what was measured until `lag` seconds after each (None: to the end).

    Args:
        passed: The interval before each moment and the moment itself.
        stamps: Of the moments, shape (B, K) int64 nanoseconds.
        lag: Seconds, or None.
    """
    if lag is None:
        return _back(passed[1:]) if len(passed) > 1 else [one.after for one in passed]
    made, last = list[NavigationState](), 0
    for k in range(len(passed)):
        while last + 1 < len(passed) and bool((stamps[:, last + 1] - stamps[:, k] <= lag * 1e9).all()):
            last += 1
        last = max(last, k)
        made.append(_back(passed[k + 1 : last + 1])[0] if last > k else passed[k].after)
    return made


def _back(passed: list[Passed]) -> list[NavigationState]:
    """Return the states before the first interval, and behind each: all but the last by what follows.

    Source: Rauch, Tung and Striebel, AIAA Journal 3, 1965; differences of states on the manifold.
    """
    later = passed[-1].after
    made = [later]
    for one in reversed(passed):
        factor = torch.linalg.cholesky_ex(one.predicted.covariance)[0]
        half = torch.linalg.solve_triangular(factor, one.cross.mT, upper=False)
        gain = torch.linalg.solve_triangular(factor.mT, half, upper=True).mT
        error = (gain @ apart(later, one.predicted)[..., None])[..., 0]
        change = later.covariance - one.predicted.covariance
        covariance = settled(one.before.covariance + gain @ change @ gain.mT)
        later = inject(one.before, error)._replace(covariance=covariance)
        made.append(later)
    return made[::-1]
