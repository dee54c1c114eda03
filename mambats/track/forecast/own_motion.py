"""How the sensor itself moves, as tracks that a filter followed tell it: by `EgoEstimator`, from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats.track.ego_bodies import Looks
from mambats.track.ego_motion import EgoEstimator, EgoMotion
from mambats.track.forecast.scene import Scene

# Metres and rad that a track's place and yaw are off beside its covariance: what a filter's errors have in common from
# frame to frame. Of 0.1, 0.2 and 0.3 m the middle one erred least over labels and tracks.
PLACE, YAW = 0.2, 0.1
TOLD = 4  # numbers of `OwnMotion`


class OwnMotion(NamedTuple):
    """Of the sensor.

    Args:
        velocity: Ahead and to the left, in the sensor's axes, shape (..., 2), m/s.
        turn: Counter-clockwise, shape (...), rad/s.
        trust: Standing tracks that it rests on, shape (...).
    """

    velocity: Tensor
    turn: Tensor
    trust: Tensor

    @staticmethod
    def of(told: Tensor) -> OwnMotion:
        """Return what rows (..., 4) say, as `own_motion` makes them."""
        return OwnMotion(told[..., :2], told[..., 2], told[..., 3])


def teller() -> EgoEstimator:
    """Return the estimator that forecasts rest on.

    Its turns change more slowly than those of poses (`EgoEstimator()`): a forecast wants the turn of the next two
    seconds, not that of the last step. Over KITTI's labels it takes 2.513 m at 2 s to 2.243 for cars and 0.854 to
    0.818 for pedestrians, with the settings for poses to 2.251 and 0.822.
    """
    return EgoEstimator(spread=(10.0, 0.2, 0.1), drive=(1.5, 0.1, 0.05))


def looks_of(mean: Tensor, covariance: Tensor, labels: Tensor, classes: Sequence[str], own: EgoEstimator) -> Looks:
    """Return what an estimator reads of tracks at a frame.

    Args:
        mean: States, shape (K, 10).
        covariance: Of x, y and more, shape (K, 4, 4).
        labels: Classes, shape (K,) int64.
        classes: Their names.
        own: That will read it.
    """
    place = mean[:, [0, 1, 6]].double().numpy()
    noise = np.tile(np.diag([PLACE**2, PLACE**2, YAW**2]), (len(place), 1, 1))
    noise[:, :2, :2] += covariance[:, :2, :2].double().numpy()
    speed, habit = np.array([own.habit(name) for name in classes], dtype=np.float64).reshape(-1, 2)[labels.numpy()].T
    return Looks(place, noise, speed, habit, labels.numpy())


def row_of(motion: EgoMotion) -> Tensor:
    """Return what an estimator tells at a frame as a row (4,) of `OwnMotion`."""
    return torch.from_numpy(np.append(motion.velocity, motion.support))


def own_motion(scene: Scene, classes: Sequence[str], estimator: EgoEstimator | None = None) -> Tensor:
    """Return the sensor's motion at each frame of a scene, told from it and those before it, shape (T, 4).

    Args:
        scene: Tracks of all classes.
        classes: Names.
        estimator: None is `teller()`.
    """
    own = estimator or teller()
    state, stamps, rows = own.init_state(), scene.stamps.tolist(), list[Tensor]()
    for f, stamp in enumerate(stamps):
        here = scene.seen[:, f]
        looks = looks_of(scene.mean[here, f], scene.covariance[here, f], scene.labels[here], classes, own)
        state, motion = own.step(state, (stamp - stamps[f - 1]) / 1e9 if f else None, looks)
        rows.append(row_of(motion))
    return torch.stack(rows) if rows else torch.zeros(0, TOLD, dtype=torch.float64)


def with_own_motion(scene: Scene, classes: Sequence[str]) -> Scene:
    """Return a scene that knows the sensor's motion; itself where it does."""
    return scene if scene.own is not None else replace(scene, own=own_motion(scene, classes))
