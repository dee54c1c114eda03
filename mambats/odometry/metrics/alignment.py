"""Move an estimate onto the truth before it is judged, by as much as the sensors could not know.

A score says little without its alignment: position and yaw are free for vision with an IMU, scale too for one
camera, nothing is free for a fused GNSS solution.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import roma
import torch
from torch import Tensor

from mambats.odometry.metrics.trajectory import Trajectory
from mambats.preprocess.imu.so3 import conjugate, matrix, product

Alignment = Literal["none", "first", "yaw", "se3", "sim3"]
#: Spread over distance from the origin below which points are one point: what rounding to float64 leaves.
_POINT = 2e-14
#: Second over first singular value below which points lie on a line: 1 mm aside on 3 km.
_LINE = 1e-13


class Similarity(NamedTuple):
    """x -> scale R x + t.

    Args:
        rotation: R, shape (3, 3).
        translation: t in metres, shape (3,).
        scale: Shape (), 1 for a rigid motion.
    """

    rotation: Tensor
    translation: Tensor
    scale: Tensor

    def apply(self, run: Trajectory) -> Trajectory:
        """Return the moved poses."""
        position = self.scale * run.position @ self.rotation.T + self.translation
        if run.rotation is None:
            return Trajectory(run.stamps, position)
        turn = roma.rotmat_to_unitquat(self.rotation)
        return Trajectory(run.stamps, position, product(turn.expand_as(run.rotation), run.rotation))


def fit_alignment(estimate: Trajectory, truth: Trajectory, kind: Alignment) -> Similarity:
    """Return what moves the estimate onto the truth.

    Args:
        estimate: Poses at the stamps of truth, see `associate`.
        truth: True poses.
        kind: `none`; `first` lays the first pose on the first pose (needs rotations); `yaw` is the best yaw and
            position (4 numbers: for an estimate that knows the vertical); `se3` the best rigid motion; `sim3` that
            and a scale. The best has the least sum of squared position errors.

    Raises:
        ValueError: If stamps differ, the kind is not known, rotations are missing, or the points leave the motion
            open (one point, all in one place, all on a line).

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns, 1991, equations
        34 to 43 (se3, sim3); Zhang and Scaramuzza, A Tutorial on Quantitative Trajectory Evaluation for
        Visual(-Inertial) Odometry, 2018, section III (yaw).
    """
    if kind not in get_args(Alignment):
        raise ValueError(f"alignment is {kind!r}: choose one of {', '.join(get_args(Alignment))}.")
    if not torch.equal(estimate.stamps, truth.stamps):
        raise ValueError(
            f"estimate ({len(estimate)} poses) and truth ({len(truth)}) have other stamps: associate them first."
        )
    one = truth.position.new_ones(())
    if kind == "none":
        return Similarity(torch.eye(3, dtype=one.dtype, device=one.device), torch.zeros_like(truth.position[0]), one)
    if kind == "first":
        rotation = matrix(product(truth.turned[0], conjugate(estimate.turned[0])))
        return Similarity(rotation, truth.position[0] - rotation @ estimate.position[0], one)
    rotation, scale = _best_yaw(estimate, truth) if kind == "yaw" else _umeyama(estimate, truth)
    scale = scale if kind == "sim3" else one
    return Similarity(rotation, truth.position.mean(0) - scale * rotation @ estimate.position.mean(0), scale)


def _best_yaw(estimate: Trajectory, truth: Trajectory) -> tuple[Tensor, Tensor]:
    """Return the turn about the vertical z that is best in closed form."""
    source, target = (run.position[:, :2] - run.position[:, :2].mean(0) for run in (estimate, truth))
    along = (source * target).sum()
    across = (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum()
    size = source.square().sum() * target.square().sum()
    coordinates = estimate.position.square().sum() * truth.position.square().sum()
    if bool(size.sqrt() <= _POINT**2 * coordinates.sqrt()) or bool(torch.hypot(along, across) <= _LINE * size.sqrt()):
        raise ValueError(
            f"the {len(truth)} positions do not move sideways (or not together), so their yaw is open: take alignment "
            "'first' or 'none', or a longer run."
        )
    turn = torch.atan2(across, along)
    vertical = torch.stack([torch.zeros_like(turn), torch.zeros_like(turn), turn])
    return roma.rotvec_to_rotmat(vertical), torch.ones_like(turn)


def _umeyama(estimate: Trajectory, truth: Trajectory) -> tuple[Tensor, Tensor]:
    """Return the best rotation and scale."""
    source, target = (run.position - run.position.mean(0) for run in (estimate, truth))
    variance = source.square().sum(-1).mean()
    left, singular, right = torch.linalg.svd(target.T @ source / len(truth))
    size = (estimate.position.square().sum(-1).mean() * truth.position.square().sum(-1).mean()).sqrt()
    still = bool(singular[0] <= _POINT**2 * size)
    if still or bool(singular[1] <= _LINE * singular[0]):
        place = "in one place" if still else "on a line"
        raise ValueError(
            f"the {len(truth)} positions lie {place}, so a rotation about it is open: take alignment 'yaw', 'first' or "
            "'none', or a longer run."
        )
    sign = torch.ones_like(singular)
    sign[2] = torch.where(torch.linalg.det(left) * torch.linalg.det(right) < 0, -1.0, 1.0)
    return left @ torch.diag(sign) @ right, (singular * sign).sum() / variance
