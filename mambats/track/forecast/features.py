"""What an encoder is told of a track at a frame: numbers of order one, in the sensor's axes and in those of the box."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats.track.detector import turns
from mambats.track.forecast.batch import ForecastBatch
from mambats.track.forecast.own_motion import OwnMotion

BACK = 4  # frames over which a box's turn is measured

#: What a track's row holds before the classes; `along` and `across` are the axes of its box.
NAMES = (
    "sight_along", "sight_across", "range", "seems_along", "seems_across", "turn", "push_along", "push_across",
    "length", "width", "age", "spread_place", "spread_speed", "own_along", "own_across", "own_turn", "own_trust",
    "over_along", "over_across", "speed",
)  # fmt: skip


def channels(classes: int) -> int:
    """Return how many numbers a row has."""
    return len(NAMES) + classes


def features(batch: ForecastBatch, own: OwnMotion, classes: int) -> Tensor:
    """Return the rows (N, T, C) of tracks.

    All vectors stand in the axes of the box, so that a scene and the same scene turned about the sensor look alike: a
    few hundred pedestrians then teach for all directions.
    """
    place, velocity = batch.mean[..., :2], batch.mean[..., 7:9]
    over, into = over_ground(batch, own), turns(-batch.mean[..., 6])
    away = place.norm(dim=-1, keepdim=True)
    spread = batch.covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-6).log() / 4
    turned, _ = turn_rates(batch)
    parts = [
        _turned(into, place) / away.clamp_min(1.0), torch.log1p(away / 10), _turned(into, velocity) / 10,
        turned[..., None].clamp(-1, 1) * 3, _turned(into, _pushes(batch)) / 3, batch.mean[..., 3:5] / 4,
        torch.log1p(batch.age)[..., None], spread[..., :1], spread[..., 2:3], _turned(into, own.velocity) / 10,
        own.turn[..., None] * 5, torch.log1p(own.trust)[..., None], _turned(into, over) / 10,
        torch.log1p(over.norm(dim=-1, keepdim=True)),
    ]  # fmt: skip
    kind = torch.nn.functional.one_hot(batch.labels, classes).to(place)[:, None].expand(-1, place.shape[1], -1)
    return torch.cat([*parts, kind], -1) * batch.seen[..., None]


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


def _pushes(batch: ForecastBatch) -> Tensor:
    """How fast velocities changed since the frame before, at most 10 m/s^2: a filter's surprise shows there."""
    velocity, wait = batch.mean[..., 7:9], batch.elapsed[..., None].clamp_min(1e-2)
    change = torch.zeros_like(velocity)
    change[:, 1:] = (velocity[:, 1:] - velocity[:, :-1]) / wait[:, 1:]
    begun = batch.seen & (batch.age > 1.5 * batch.elapsed)
    begun[:, 0] = False
    return (change * begun[..., None]).clamp(-10, 10)


def over_ground(batch: ForecastBatch, own: OwnMotion) -> Tensor:
    """Return velocities of bodies over ground (N, T, 2), in the sensor's axes."""
    return batch.mean[..., 7:9] + own.velocity + own.turn[..., None] * left_of(batch.mean[..., :2])


def left_of(vector: Tensor) -> Tensor:
    """Return vectors (..., 2) turned to the left by a quarter."""
    return torch.stack([-vector[..., 1], vector[..., 0]], -1)


def _turned(turn: Tensor, vector: Tensor) -> Tensor:
    return (turn @ vector[..., None])[..., 0]
