"""Bodies around a moving sensor, matched from one look to the next, and how likely each of them stands still."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

SHOWN = 3  # numbers of a body that a look shows: x, y, yaw
REACH = 4.0  # metres between two looks beyond which nobody is the same: 40 m/s at 10 Hz
FORGET = 5.0  # seconds after which what a body did counts a third: parked cars drive off
SURE = 4.0  # log odds of standing beyond which nobody is surer


class Looks(NamedTuple):
    """What is seen of D bodies at one moment, in the sensor's axes.

    Args:
        place: x, y and yaw, shape (D, 3).
        noise: Covariance of their errors, shape (D, 3, 3).
        speed: Deviation of how fast such a body moves where it does, m/s, shape (D,).
        habit: Log odds that one of its class stands, shape (D,).
        kind: Number of its class, shape (D,) int64.
    """

    place: Array
    noise: Array
    speed: Array
    habit: Array
    kind: Whole


def turned(away: Array) -> Array:
    """Return differences of yaw with the half turns taken out: front and rear look the same."""
    return away - math.pi * np.round(away / math.pi)


def pairs(apart: Array, gate: float = REACH) -> tuple[Whole, Whole]:
    """Return rows of bodies and of looks that are each other's nearest within the gate.

    Args:
        apart: Metres of all pairs, shape (N, D); infinite where they cannot be.
        gate: Metres.
    """
    if not apart.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    best = apart.argmin(1)
    mutual = (apart.argmin(0)[best] == np.arange(len(best))) & (apart[np.arange(len(best)), best] < gate)
    return np.flatnonzero(mutual), best[mutual]


def distances(place: Array, kind: Whole, looks: Looks) -> Array:
    """Return metres on the ground between bodies and looks (N, D), infinite where their classes differ."""
    away = np.linalg.norm(place[:, None, :2] - looks.place[None, :, :2], axis=-1)
    return np.where(kind[:, None] == looks.kind[None], away, np.inf)


def shift_of_most(place: Array, kind: Whole, looks: Looks, deviation: Array, width: float) -> Array:
    """Return the shift (2,) of all bodies together that most of them agree with: every pair's own is tried.

    Args:
        place: Where bodies should be now, shape (N, 3).
        kind: Their classes, shape (N,).
        looks: What is seen.
        deviation: Of the shift as known beforehand, ahead and aside, metres, shape (2,).
        width: Metres to which a standing body is told.

    Source: M. A. Fischler and R. C. Bolles, Random sample consensus, 1981; here all samples of one pair are drawn.
    """
    away = looks.place[None, :, :2] - place[:, None, :2]
    can = (kind[:, None] == looks.kind[None]) & (np.abs(away / deviation) < 3).all(-1)
    tried = np.concatenate([np.zeros((1, 2)), away[can]])
    left = np.linalg.norm(away[None] - tried[:, None, None], axis=-1)
    left = np.where(kind[:, None] == looks.kind[None], left, np.inf).min(2, initial=np.inf)
    votes = np.exp(-0.5 * (left / width) ** 2).sum(1) - 0.5 * ((tried / deviation) ** 2).sum(1) / max(len(place), 1)
    return tried[int(votes.argmax())]


def log_ratio(residual: Array, spread: Array, reach: Array) -> Array:
    """Return log odds (M,) that bodies stand rather than move, by how far they are from where they should be.

    Args:
        residual: x and y, shape (M, 2).
        spread: Its covariance of one that stands, shape (M, 2, 2).
        reach: Deviation of how far one that moves may have come, metres, shape (M,).
    """
    wide = spread + (reach**2)[:, None, None] * np.eye(2)
    still, moving = (_square(residual, one) for one in (spread, wide))
    return 0.5 * (moving - still + np.log(np.linalg.det(wide)) - np.log(np.linalg.det(spread)))


def _square(residual: Array, spread: Array) -> Array:
    return (residual * np.linalg.solve(spread, residual[..., None])[..., 0]).sum(-1)
