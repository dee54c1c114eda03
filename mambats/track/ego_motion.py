"""How a sensor moves over the ground, told from what it sees: most of what stands still moves all together.

The filter is centred on the sensor: its state is the sensor's velocity and where each body is in the sensor's axes
now, with their joint covariance. A body stands until its looks say otherwise; one that moves tells nothing of the
sensor but, by its yaw, the turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mambats.track.ego_bodies import (
    FORGET,
    SHOWN,
    SURE,
    Array,
    Looks,
    Whole,
    distances,
    log_ratio,
    pairs,
    shift_of_most,
    turned,
)

OWN = 3  # numbers of the sensor: speed ahead and to the left, m/s, and turn rate, rad/s
#: By class: deviation of how fast it moves where it does, m/s, and log odds that it stands, never seen before.
HABITS = {"car": (6.0, -1.0), "pedestrian": (1.2, -3.0), "cyclist": (4.0, -3.0)}
ROUNDS = 3  # of weighing bodies anew


class EgoState(NamedTuple):
    """What is known after a look.

    Args:
        mean: Velocity and turn rate, then x, y and yaw of each of N bodies in the sensor's axes, shape (3 + 3 N,).
        covariance: Shape (3 + 3 N, 3 + 3 N).
        kind: Classes of the bodies, shape (N,).
        speed: Deviations of their speeds where they move, m/s, shape (N,).
        habit: Log odds that one of its class stands, shape (N,).
        standing: Log odds that they stand, shape (N,).
        silent: Seconds since each was seen, shape (N,).
    """

    mean: Array
    covariance: Array
    kind: Whole
    speed: Array
    habit: Array
    standing: Array
    silent: Array


class EgoMotion(NamedTuple):
    """How the sensor moved since the look before.

    Args:
        velocity: Ahead and to the left in m/s, and turn rate in rad/s, in the axes of the look, shape (3,).
        covariance: Shape (3, 3).
        support: How many standing bodies this rests on.
    """

    velocity: Array
    covariance: Array
    support: float


class EgoEstimator:
    """Tells a sensor's planar motion from bodies around it; without enough of them, from what it did before.

    Velocity and turn rate are Ornstein-Uhlenbeck processes: nearly constant over a second, and with nobody in sight
    their covariance grows to that of a sensor of which nothing is known. Where all bodies move alike (a motorway) the
    sensor seems to stand: the world is then that of the bodies.

    Args:
        spread: Deviations of speed ahead, aside and of turn rate, of which nothing is known, m/s and rad/s.
        drive: Densities of the white noise that changes them, m/s^1.5 and rad/s^1.5.
        walk: Densities of the walk of a standing body's middle and yaw, as its sides come into sight, m and rad a
            root second.
        memory: Seconds that a body is remembered without being seen.
        habits: By class, lower case, see `HABITS`, which is None.

    Raises:
        ValueError: If a deviation or density is not above 0.

    Source: J. A. Castellanos, R. Martinez-Cantin, J. D. Tardos and J. Neira, Robocentric map joining, 2007, section 3;
        A. P. Dempster, N. M. Laird and D. B. Rubin, Maximum likelihood from incomplete data, 1977 (weights).
    """

    def __init__(
        self,
        spread: tuple[float, float, float] = (10.0, 0.3, 0.3),
        drive: tuple[float, float, float] = (1.5, 0.15, 0.15),
        walk: tuple[float, float] = (0.1, 0.05),
        memory: float = 1.0,
        habits: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        if not all(one > 0 for one in (*spread, *drive, *walk, memory)):
            raise ValueError(f"spread is {spread}, drive {drive}, walk {walk}, memory {memory}: needed above 0.")
        self.spread, self.drive, self.walk, self.memory = spread, drive, walk, memory
        self.habits = dict(habits or HABITS)

    def init_state(self) -> EgoState:
        """Return the state before the first look."""
        none, covariance = np.zeros(0), np.diag(np.square(self.spread))
        return EgoState(np.zeros(OWN), covariance, np.zeros(0, np.int64), none, none, none, none)

    def habit(self, name: str) -> tuple[float, float]:
        """Return speed and standing of a class, see `HABITS`; of one that is unknown, a car's."""
        return self.habits.get(name.lower(), HABITS["car"])

    def step(self, state: EgoState, elapsed: float | None, looks: Looks) -> tuple[EgoState, EgoMotion]:
        """Take what is seen at a moment.

        Args:
            state: After the look before.
            elapsed: Seconds since; None at the first look.
            looks: What is seen; may be nothing.

        Raises:
            ValueError: If elapsed is not above 0, or a look is not finite.
        """
        if elapsed is not None and not 0 < elapsed < math.inf:
            raise ValueError(f"elapsed is {elapsed} s, needed a finite number above 0: give looks in order of time.")
        if not (np.isfinite(looks.place).all() and np.isfinite(looks.noise).all()):
            raise ValueError("a look is not finite: leave the detection out.")
        if elapsed is not None:
            state = self._moved(state, elapsed)
        found, seen = self._matched(state, looks, elapsed or 0.0)
        state, support = self._updated(state, looks, found, seen, elapsed or 0.0)
        motion = EgoMotion(state.mean[:OWN].copy(), state.covariance[:OWN, :OWN].copy(), support)
        return self._joined(state, looks, seen), motion

    def _moved(self, state: EgoState, elapsed: float) -> EgoState:
        """Where everything is after a time: the sensor drives on, and what stands goes past it."""
        spread, drive = np.square(self.spread), np.square(self.drive)
        stays = np.exp(-elapsed * drive / (2 * spread))
        mean = np.concatenate([state.mean[:OWN] * stays, state.mean[OWN:]])
        flow = np.concatenate([stays, np.ones(len(mean) - OWN)])
        covariance = flow[:, None] * state.covariance * flow
        covariance[range(OWN), range(OWN)] += spread * (1 - stays**2)
        bodies, matrix = _past(mean[:OWN], mean[OWN:].reshape(-1, SHOWN), elapsed)
        covariance = matrix @ covariance @ matrix.T
        walk = np.tile([self.walk[0] ** 2, self.walk[0] ** 2, self.walk[1] ** 2], len(bodies)) * elapsed
        rows = np.arange(OWN, len(mean))
        covariance[rows, rows] += walk
        standing = state.habit + (state.standing - state.habit) * math.exp(-elapsed / FORGET)
        return state._replace(
            mean=np.concatenate([mean[:OWN], bodies.ravel()]), covariance=covariance, standing=standing,
            silent=state.silent + elapsed,
        )  # fmt: skip

    def _matched(self, state: EgoState, looks: Looks, elapsed: float) -> tuple[Whole, Whole]:
        """Rows of bodies and of looks that are one; where the sensor's speed is open, by the shift that most share."""
        place = state.mean[OWN:].reshape(-1, SHOWN)
        shift = np.zeros(2)
        deviation = np.sqrt(np.diag(state.covariance)[:2]) * elapsed
        if len(place) and len(looks.place) and deviation.max() > 0.3:
            shift = shift_of_most(place, state.kind, looks, deviation + 0.2, 0.3)
        return pairs(distances(place + np.array([*shift, 0.0]), state.kind, looks))

    def _updated(
        self, state: EgoState, looks: Looks, found: Whole, seen: Whole, elapsed: float
    ) -> tuple[EgoState, float]:
        """Kalman's update by all pairs at once, each weighed by how likely its body stands: expectation-maximisation.

        What a body is likely to have moved by itself is walk of its place alone; its yaw tells the turn all the same.
        """
        if not len(found):
            return state, 0.0
        rows = _rows(found).ravel()
        away = looks.place[seen] - state.mean[rows].reshape(-1, SHOWN)
        away[:, 2] = turned(away[:, 2])
        noise, count = np.zeros((len(rows), len(rows))), len(found)
        for k in range(count):
            noise[SHOWN * k : SHOWN * k + SHOWN, SHOWN * k : SHOWN * k + SHOWN] = looks.noise[seen[k]]
        reach = state.speed[found] * elapsed
        lean, within = _given(state.covariance, found, looks.noise[seen])
        odds, own = state.standing[found], _start(away, lean, state.covariance[:OWN, :OWN], within)
        told = chance = np.zeros(count)
        covariance, gain = state.covariance, np.zeros((len(state.mean), len(rows)))
        for _ in range(ROUNDS):
            told = log_ratio(away[:, :2] - (lean @ own)[:, :2], within[:, :2, :2], reach)
            chance = 1 / (1 + np.exp(-np.clip(odds + told, -30.0, 30.0)))
            room = within[:, range(2), range(2)].mean(1)
            free = np.minimum(room * (1 / chance - 1), reach**2)
            covariance = state.covariance.copy()
            for axis in range(2):
                covariance[OWN + SHOWN * found + axis, OWN + SHOWN * found + axis] += free
            gain = np.linalg.solve(covariance[np.ix_(rows, rows)] + noise, covariance[rows]).T
            own = gain[:OWN] @ away.ravel()
        left = np.eye(len(state.mean))
        left[:, rows] -= gain
        covariance = left @ covariance @ left.T + gain @ noise @ gain.T
        standing, silent = state.standing.copy(), state.silent.copy()
        standing[found], silent[found] = np.clip(odds + np.clip(told, -2.0, 1.0), -SURE, SURE), 0.0
        made = state._replace(
            mean=state.mean + gain @ away.ravel(), covariance=covariance, standing=standing, silent=silent
        )
        return made, float(chance.sum())

    def _joined(self, state: EgoState, looks: Looks, seen: Whole) -> EgoState:
        """Forget who was not seen for long, and remember who is new."""
        kept = state.silent <= self.memory
        rows = np.concatenate(
            [np.arange(OWN), (OWN + SHOWN * np.flatnonzero(kept)[:, None] + np.arange(SHOWN)).ravel()]
        )
        new = np.setdiff1d(np.arange(len(looks.place)), seen)
        old, size = len(rows), len(rows) + SHOWN * len(new)
        covariance = np.zeros((size, size))
        covariance[:old, :old] = state.covariance[np.ix_(rows, rows)]
        for k, row in enumerate(new):
            here = slice(old + SHOWN * k, old + SHOWN * (k + 1))
            covariance[here, here] = looks.noise[row]
        return EgoState(
            np.concatenate([state.mean[rows], looks.place[new].ravel()]), covariance,
            np.concatenate([state.kind[kept], looks.kind[new]]), np.concatenate([state.speed[kept], looks.speed[new]]),
            np.concatenate([state.habit[kept], looks.habit[new]]),
            np.concatenate([state.standing[kept], looks.habit[new]]),
            np.concatenate([state.silent[kept], np.zeros(len(new))]),
        )  # fmt: skip


def _rows(bodies: Whole) -> Whole:
    """Rows of the state (M, 3) that bodies (M,) have."""
    return OWN + SHOWN * bodies[:, None] + np.arange(SHOWN)


def _past(own: Array, bodies: Array, elapsed: float) -> tuple[Array, Array]:
    """Bodies (N, 3) as the sensor sees them after it drove on, and the derivative of own and bodies by the same."""
    angle = own[2] * elapsed
    half, back = _rotation(angle / 2), _rotation(-angle)
    step = half @ own[:2] * elapsed
    place = (bodies[:, :2] - step) @ back.T
    matrix, aside = np.eye(OWN + bodies.size), np.array([[0.0, -1.0], [1.0, 0.0]])
    for k in range(len(bodies)):
        at = OWN + SHOWN * k
        matrix[at : at + 2, at : at + 2] = back
        matrix[at : at + 2, :2] = -back @ half * elapsed
        matrix[at : at + 2, 2] = (-aside @ place[k] - back @ aside @ step / 2) * elapsed
        matrix[at + 2, 2] = -elapsed
    return np.column_stack([place, bodies[:, 2] - angle]), matrix


def _rotation(angle: float) -> Array:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _given(covariance: Array, found: Whole, noise: Array) -> tuple[Array, Array]:
    """How places of bodies lean on the sensor's motion (M, 3, 3), and their covariance with noise, were it known."""
    rows = _rows(found)
    cross = covariance[rows][..., :OWN]
    lean = np.swapaxes(np.linalg.solve(covariance[:OWN, :OWN], np.swapaxes(cross, 1, 2)), 1, 2).astype(np.float64)
    own = covariance[rows[:, :, None], rows[:, None]]
    return lean, own - lean @ np.swapaxes(cross, 1, 2) + noise


def _start(away: Array, lean: Array, prior: Array, within: Array) -> Array:
    """Change of the sensor's motion that most pairs agree with: each pair's own is tried, all are counted."""
    tried = np.zeros((len(away) + 1, OWN))
    for k in range(len(away)):
        part = lean[k, :2]
        tried[k + 1] = prior @ part.T @ np.linalg.solve(part @ prior @ part.T + within[k, :2, :2], away[k, :2])
    left = away[None, :, :2] - np.einsum("mij,hj->hmi", lean[:, :2], tried)
    square = (left * np.linalg.solve(within[None, :, :2, :2], left[..., None])[..., 0]).sum(-1)
    cost = np.minimum(square, 9.0).sum(1) + (tried * np.linalg.solve(prior, tried.T).T).sum(1)
    return tried[int(cost.argmin())]
