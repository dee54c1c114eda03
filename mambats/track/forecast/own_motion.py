"""How the sensor itself moves, told from the tracks: what stands still moves all together, and turns all together."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.forecast.batch import ForecastBatch

BACK = 4  # frames over which a box's turn is measured
SCALES = (8.0, 4.0, 2.0, 1.0, 1.0)  # m/s: from round to round, what moves by itself counts less
TURN = 0.1  # rad/s that a standing box may seem to turn
STILL = (50.0, 1.0, 0.5)  # deviations known beforehand: speed ahead and aside, m/s, and turn rate, rad/s


class OwnMotion(NamedTuple):
    """Of the sensor, as each track of a batch is told.

    Args:
        velocity: Ahead and to the left, in the sensor's axes, shape (N, T, 2), m/s.
        turn: Counter-clockwise, shape (N, T), rad/s.
        trust: Standing tracks that it rests on, shape (N, T).
    """

    velocity: Tensor
    turn: Tensor
    trust: Tensor


def turn_rates(batch: ForecastBatch) -> tuple[Tensor, Tensor]:
    """Return how fast boxes seem to turn (N, T), rad/s, and where this is known; front and rear look the same."""
    yaw, seen = batch.mean[..., 6], batch.seen
    turned, both = torch.zeros_like(yaw), torch.zeros_like(seen)
    if yaw.shape[1] > BACK:
        away = yaw[:, BACK:] - yaw[:, :-BACK]
        passed = batch.elapsed.cumsum(1)
        time = (passed[:, BACK:] - passed[:, :-BACK]).clamp_min(1e-3)
        turned[:, BACK:] = (away - math.pi * torch.round(away / math.pi)) / time
        both[:, BACK:] = seen[:, BACK:] & seen[:, :-BACK] & (batch.age[:, BACK:] > batch.age[:, :-BACK])
    return torch.where(both, turned, 0.0), both


@torch.no_grad()
def own_motion(batch: ForecastBatch) -> OwnMotion:
    """Return the motion of the sensor at each frame that most tracks agree with.

    A body that stands still seems to move by -w - r J p under the sensor's velocity w and turn rate r, and its box
    turns by -r. Iteratively reweighted least squares over all tracks of a frame, by Geman and McClure's weights from
    wide to narrow; without tracks it is rest. Where most bodies drive along, w is against them.

    Source: S. Geman and D. E. McClure, Statistical methods for tomographic image reconstruction, 1987.
    """
    count = int(batch.piece.max()) + 1 if len(batch.piece) else 0
    place, velocity = batch.mean[..., :2], batch.mean[..., 7:9]
    turned, known = turn_rates(batch)
    zero, one = torch.zeros_like(turned), torch.ones_like(turned)
    rows = torch.stack([
        torch.stack([-one, zero, place[..., 1]], -1), torch.stack([zero, -one, -place[..., 0]], -1),
        torch.stack([zero, zero, -one / TURN], -1),
    ], -2)  # fmt: skip
    value = torch.stack([velocity[..., 0], velocity[..., 1], turned / TURN], -1)
    there = torch.stack([batch.seen, batch.seen, known], -1) * (batch.age > NEW)[..., None]
    weight = there.to(rows)
    prior = torch.diag(rows.new_tensor(STILL).square().reciprocal())
    answer = rows.new_zeros(*turned.shape, 3)
    for scale in SCALES:
        left = _of_piece(rows.mT @ (weight[..., None] * rows), batch.piece, count) + prior
        right = _of_piece((rows.mT @ (weight * value)[..., None])[..., 0], batch.piece, count)
        answer = torch.linalg.solve(left, right)[batch.piece]
        away = value - (rows @ answer[..., None])[..., 0]
        # One that moves by itself is out with both numbers; a turn of its own is its own.
        speed = away[..., :2].square().sum(-1, keepdim=True).expand(*turned.shape, 2)
        square = torch.cat([speed, away[..., 2:].square()], -1)
        weight = there * (1 + square / scale**2).pow(-2)
    trust = _of_piece(weight[..., 0], batch.piece, count)[batch.piece]
    return OwnMotion(answer[..., :2], answer[..., 2], trust)


NEW = 0.25  # seconds: the velocity of a younger track is not known


def _of_piece(values: Tensor, piece: Tensor, count: int) -> Tensor:
    """Sums over the tracks of a piece: (N, ...) to (S, ...)."""
    return values.new_zeros(count, *values.shape[1:]).index_add(0, piece, values)
