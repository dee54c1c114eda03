"""The extended Kalman filter: models made linear by their Jacobians."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators.filter import FilterState, Seen, _checked
from mambats.estimators.models import Motion, Noise, Sensor
from mambats.estimators.nonlinear import NonlinearFilter, Transition
from mambats.protocols import Innovation, State
from mambats_kernels.kalman import kalman_update


class ExtendedKalmanFilter(NonlinearFilter):
    """Motion and sensors made linear at the mean; on linear models it is the Kalman filter.

    Args:
        motion: How the state moves.
        sensors: What is measured, by stream.
        start: Covariance of the state before any measurement.
        mean: The state before any measurement, n numbers; None for zeros.
        gate: Probability of letting in a measurement while the filter is consistent; None lets all in.
        iterations: How often a measurement is made linear anew where the last correction led (iterated filter, Gauss
            and Newton's steps to the most likely state); 1 for the plain filter. The residual is then that of the last
            linearisation.

    Raises:
        ValueError: If sizes do not fit together, there is no sensor, the gate is no probability, or iterations are
            below 1.

    Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 10.3;
        iterated: Bell and Cathey, The Iterated Kalman Filter Update as a Gauss-Newton Method, 1993.
    """

    def __init__(
        self,
        motion: Motion,
        sensors: Mapping[str, Sensor],
        start: Noise,
        mean: Sequence[float] | None = None,
        gate: float | None = None,
        iterations: int = 1,
    ) -> None:
        super().__init__(motion, sensors, start, mean, gate)
        if iterations < 1:
            raise ValueError(f"iterations are {iterations}: need 1 for the plain filter, or more.")
        self.iterations = iterations

    def transition(self, state: State, elapsed: Tensor, noise: Tensor) -> Transition:
        """Return the move of the mean and its Jacobian."""
        return Transition(self.motion(state.mean, elapsed), self.motion.jacobian(state.mean, elapsed), noise)

    def update(
        self,
        state: State,
        stream: str,
        value: Tensor,
        *,
        noise: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[State, Innovation]:
        """Take a measurement made now; see `Filter.update`."""
        if self.iterations == 1:
            return super().update(state, stream, value, noise=noise, mask=mask)
        sensor = self._sensor(stream, value, state.covariance.shape[0])
        own: Tensor = sensor.noise(value.new_zeros(value.shape[0])) if noise is None else _checked(noise, value, mask)
        finite, at = value.isfinite(), _Begun(state.mean, state.covariance, state.mean)
        for _ in range(self.iterations - 1):
            seen = self._see(at, stream, value.where(finite, 0.0))
            residual = seen.residual.where(finite, torch.nan)
            made = kalman_update(torch.zeros_like(at.mean), at.covariance, residual, seen.matrix, own, mask=mask)
            at = at._replace(place=at.mean + made.mean)
        made, told = super().update(at, stream, value, noise=noise, mask=mask)
        return FilterState(made.mean, made.covariance), told

    def _see(self, state: State, stream: str, value: Tensor) -> Seen:
        sensor = self.sensors[stream]
        place = state.place if isinstance(state, _Begun) else state.mean
        matrix = sensor.jacobian(place)
        residual = sensor.residual(value, sensor(place))
        if isinstance(state, _Begun):  # seen from the mean: z - h(place) - H (mean - place)
            residual = residual - (matrix @ (state.mean - place).unsqueeze(-1)).squeeze(-1)
        return Seen(residual, matrix)


class _Begun(NamedTuple):
    """A state whose measurement is being taken."""

    mean: Tensor
    covariance: Tensor
    place: Tensor  #: where sensors are made linear, (B, n)
