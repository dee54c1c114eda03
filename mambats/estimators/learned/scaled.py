"""Filters whose noise is scaled from outside: one face for those of a motion and sensors and for inertial ones."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mambats.estimators.filter import Filter
from mambats.estimators.inertial import InertialFilter
from mambats.protocols import Estimator, State


class Scaled(Protocol):
    """How noise is scaled, and what is known of the motion beside the innovations."""

    #: Numbers of the process noise.
    process: int
    #: Numbers of the noise of each stream that measures.
    sizes: dict[str, int]
    #: Numbers that `context` gives.
    context_size: int

    def predict(self, state: State, elapsed: Tensor, scale: Tensor) -> State:
        """Let time pass with the process noise's deviations multiplied by scale (B, process)."""
        ...

    def noise(self, stream: str, scale: Tensor) -> Tensor:
        """Return the covariance of a stream, its deviations multiplied by scale (B, m)."""
        ...

    def context(self, state: State) -> Tensor:
        """Return numbers (B, context_size) of about 1 that say how the body moves."""
        ...


class ScaledFilter:
    """Of a filter over a motion and sensors; nothing is known of what its state means, so there is no context."""

    context_size = 0

    def __init__(self, estimator: Filter) -> None:
        self.estimator = estimator
        self.process = estimator.motion.noise.size
        self.sizes = {name: sensor.noise.size for name, sensor in estimator.sensors.items()}

    def predict(self, state: State, elapsed: Tensor, scale: Tensor) -> State:
        """Let time pass."""
        return self.estimator.predict(state, elapsed, noise=self.estimator.motion.noise(elapsed.to(scale), scale))

    def noise(self, stream: str, scale: Tensor) -> Tensor:
        """Return the covariance of a stream."""
        return self.estimator.sensors[stream].noise(scale[:, 0], scale)

    def context(self, state: State) -> Tensor:
        """Return nothing, shape (B, 0)."""
        return state.covariance.new_zeros(len(state.covariance), 0)


class ScaledInertial:
    """Of an inertial filter: context is its speed, its rates of turn and its specific force beside gravity."""

    context_size = 8

    def __init__(self, estimator: InertialFilter) -> None:
        self.estimator = estimator
        self.process = estimator.noise["imu"].size
        self.sizes = {name: estimator.noise[name].size for name in estimator.streams if name != "imu"}

    def predict(self, state: State, elapsed: Tensor, scale: Tensor) -> State:
        """Let time pass."""
        return self.estimator.predict(state, elapsed, scale=scale)

    def noise(self, stream: str, scale: Tensor) -> Tensor:
        """Return the covariance of a stream."""
        return self.estimator.noise[stream](torch.ones_like(scale[:, 0]), scale)

    def context(self, state: State) -> Tensor:
        """Speed / 10 m/s, whether it is below 0.5 m/s, rates of turn in rad/s, forces beyond gravity in m/s^2."""
        speed = state.velocity.norm(dim=-1, keepdim=True)
        x, y, z = (state.reading[:, 3:] - state.bias[:, 3:]).unbind(-1)
        force = torch.stack([x, y, z - self.estimator.gravity], -1)
        turn = state.reading[:, :3] - state.bias[:, :3]
        return torch.cat([speed / 10, (speed < 0.5).to(speed), turn, force], -1)


def scaled(estimator: Estimator) -> Scaled:
    """Return the face that fits an estimator.

    Raises:
        TypeError: If its noise cannot be scaled.
    """
    if isinstance(estimator, Filter):
        return ScaledFilter(estimator)
    if isinstance(estimator, InertialFilter):
        return ScaledInertial(estimator)
    raise TypeError(f"the noise of {type(estimator).__name__} cannot be scaled: give a Filter or an InertialFilter.")
