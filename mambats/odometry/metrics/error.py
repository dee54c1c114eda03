"""Errors pose by pose: absolute ones, and relative ones over a time or a distance."""

from __future__ import annotations

from typing import Literal, get_args

import roma
import torch
from torch import Tensor

from mambats.odometry.metrics.trajectory import Trajectory
from mambats.preprocess.imu.so3 import conjugate, product, rotate

Relation = Literal["translation", "rotation", "position"]
Unit = Literal["s", "m"]
#: A pair's time or distance may differ from the wanted one by this share; evo's default too.
TOLERANCE = 0.1


def turn_angle(first: Tensor, second: Tensor) -> Tensor:
    """Return the angle between rotations (..., 4), in radians within [0, pi], shape (...)."""
    return torch.linalg.vector_norm(roma.unitquat_to_rotvec(product(conjugate(first), second)), dim=-1)


def absolute_errors(estimate: Trajectory, truth: Trajectory, relation: Relation = "translation") -> Tensor:
    """Return the error of each pose, shape (T,): metres of translation (or position, the same), radians of rotation.

    Args:
        estimate: Poses at the stamps of truth, aligned.
        truth: True poses.
        relation: What is compared.

    Raises:
        ValueError: If rotations are asked for and missing, or the relation is not known.
    """
    _check_relation(relation)
    if relation == "rotation":
        return turn_angle(truth.turned, estimate.turned)
    return torch.linalg.vector_norm(estimate.position - truth.position, dim=-1)


def pairs_apart(truth: Trajectory, delta: float, unit: Unit = "s") -> tuple[Tensor, Tensor]:
    """Return the rows i and j of pairs that are `delta` apart, every i that has one.

    The row j whose time (or distance travelled, along the truth) is nearest to that of i plus delta, where it comes
    within a tenth of delta. (evo takes the distance along the estimate unless told otherwise.)

    Args:
        truth: True poses.
        delta: How far apart, > 0.
        unit: `s` for seconds or `m` for metres travelled.

    Raises:
        ValueError: If delta is not positive, the unit is not known, or there is no such pair.
    """
    if not delta > 0 or unit not in get_args(Unit):
        raise ValueError(f"delta is {delta} {unit!r}: needed a positive number of 's' or 'm'.")
    course = (truth.stamps - truth.stamps[0]).double() / 1e9 if unit == "s" else truth.distance
    wanted = course + delta
    after = torch.searchsorted(course, wanted).clamp(max=len(truth) - 1)
    before = (after - 1).clamp(min=0)
    nearer = (wanted - course[before]).abs() < (course[after] - wanted).abs()
    second = torch.where(nearer, before, after)
    # A rounding of the stamps must not lose a pair that is a tenth off exactly.
    close = (course[second] - wanted).abs() <= TOLERANCE * delta * (1 + 1e-9)
    if unit == "s":  # the clock is regular: a run's last poses have no partner, not one that is too early
        close &= wanted <= course[-1] + 1e-9 * delta
    first = torch.arange(len(truth), device=second.device)
    kept = close & (second > first)
    if not bool(kept.any()):
        raise ValueError(
            f"no two of the {len(truth)} poses are {delta:g} {unit} apart (within a tenth); the run has "
            f"{float(course[-1]):g} {unit}. Take a smaller delta, or denser poses."
        )
    return first[kept], second[kept]


def relative_errors(
    estimate: Trajectory, truth: Trajectory, pairs: tuple[Tensor, Tensor], relation: Relation = "translation"
) -> Tensor:
    """Return the error of the motion between each pair, shape (pairs,).

    E = (truth_i^-1 truth_j)^-1 (estimate_i^-1 estimate_j): the length of its translation in metres or its angle in
    radians. `position` needs no rotations: the displacement in the fixed frame, |(e_j - e_i) - (t_j - t_i)|, which
    depends on the alignment.

    Args:
        estimate: Poses at the stamps of truth.
        truth: True poses.
        pairs: Rows i and j.
        relation: What is compared.

    Raises:
        ValueError: If rotations are needed and missing, or the relation is not known.

    Source: Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, 2012, equation 1.
    """
    _check_relation(relation)
    if relation == "position":
        moved = [run.position[pairs[1]] - run.position[pairs[0]] for run in (estimate, truth)]
        return torch.linalg.vector_norm(moved[0] - moved[1], dim=-1)
    if relation == "rotation":
        turns = [product(conjugate(run.turned[pairs[0]]), run.turned[pairs[1]]) for run in (estimate, truth)]
        return turn_angle(turns[1], turns[0])
    moves = [
        rotate(conjugate(run.turned[pairs[0]]), run.position[pairs[1]] - run.position[pairs[0]])
        for run in (estimate, truth)
    ]
    return torch.linalg.vector_norm(moves[0] - moves[1], dim=-1)


def _check_relation(relation: Relation) -> None:
    if relation not in get_args(Relation):
        raise ValueError(f"relation is {relation!r}: choose one of {', '.join(get_args(Relation))}.")
