"""The Kalman filter: linear models, where it is the best estimate there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from mambats.estimators.filter import FilterState, Seen
from mambats.estimators.models import Motion, Noise, Sensor
from mambats.estimators.nonlinear import NonlinearFilter, Transition
from mambats.protocols import State
from mambats_kernels.kalman import PreparedKalman

Matrix = Sequence[Sequence[float]]


class LinearMotion(Motion):
    """A state that obeys dx/dt = A x, moved exactly over any time: exp(A elapsed) x.

    Args:
        rate: A, n rows of n numbers; [[0, 1], [0, 0]] moves a position by its velocity.
        noise: Covariance of what is added, of n numbers, growing with time.

    Raises:
        ValueError: If rate is not square, or noise is of another size.
    """

    rate_matrix: Tensor

    def __init__(self, rate: Matrix, noise: Noise) -> None:
        super().__init__()
        self.rate, self.noise = rate, noise
        self.register_buffer("rate_matrix", _table("rate", rate), persistent=False)
        self.size = _square("rate", self.rate_matrix, noise)

    def forward(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return the state (B, n) after `elapsed` seconds (B,)."""
        return (self.jacobian(x, elapsed) @ x.unsqueeze(-1)).squeeze(-1)

    def jacobian(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return exp(A elapsed), shape (B, n, n)."""
        return torch.linalg.matrix_exp(self.rate_matrix.to(x) * elapsed.to(x)[:, None, None])


class StepMotion(Motion):
    """A state that moves by the same matrix at every step of one length, whatever clock it is told of.

    Args:
        transition: F, n rows of n numbers.
        noise: Covariance of what a step adds.

    Raises:
        ValueError: If transition is not square, or noise is of another size.
    """

    transition_matrix: Tensor

    def __init__(self, transition: Matrix, noise: Noise) -> None:
        super().__init__()
        self.transition, self.noise = transition, noise
        self.register_buffer("transition_matrix", _table("transition", transition), persistent=False)
        self.size = _square("transition", self.transition_matrix, noise)

    def forward(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return F x, shape (B, n)."""
        return x @ self.transition_matrix.to(x).mT

    def jacobian(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return F, shape (B, n, n)."""
        return self.transition_matrix.to(x).expand(x.shape[0], -1, -1)


class LinearSensor(Sensor):
    """A sensor that measures H x.

    Args:
        matrix: H, m rows of n numbers.
        noise: Covariance of its error, of m numbers.

    Raises:
        ValueError: If matrix has not two axes, or noise is of another size than its rows.
    """

    seen_matrix: Tensor

    def __init__(self, matrix: Matrix, noise: Noise) -> None:
        super().__init__()
        self.matrix, self.noise = matrix, noise
        self.register_buffer("seen_matrix", _table("matrix", matrix), persistent=False)
        self.size = self.seen_matrix.shape[0]
        if noise.size != self.size:
            raise ValueError(f"noise is of {noise.size} numbers, matrix has {self.size} rows: one for each row.")

    def forward(self, x: Tensor) -> Tensor:
        """Return H x, shape (B, m)."""
        return x @ self.seen_matrix.to(x).mT

    def jacobian(self, x: Tensor) -> Tensor:
        """Return H, shape (B, m, n)."""
        return self.seen_matrix.to(x).expand(x.shape[0], -1, -1)


class KalmanFilter(NonlinearFilter):
    """The Kalman filter of linear models, with Joseph's form, a gate, and any subset of measurements at any time.

    Without gradients (`torch.no_grad`, or parameters that want none) it runs on compiled kernels.

    Args:
        motion: A `LinearMotion` or `StepMotion`.
        sensors: Each a `LinearSensor`, by stream.
        start: Covariance of the state before any measurement.
        mean: The state before any measurement, n numbers; None for zeros.
        gate: Probability of letting in a measurement while the filter is consistent; None lets all in.

    Raises:
        ValueError: If sizes do not fit together or there is no sensor.
        TypeError: If a model is not linear.

    Example:
        motion = LinearMotion([[0, 1], [0, 0]], WhiteAcceleration([0.5]))
        model = KalmanFilter(motion, {"gnss": LinearSensor([[1, 0]], ConstantNoise([2.0]))}, ConstantNoise([10.0, 3.0]))
        state, told = model.update(model.predict(model.init_state(1), torch.ones(1)), "gnss", torch.tensor([[3.0]]))

    Source: Kalman, A New Approach to Linear Filtering and Prediction Problems, 1960; Joseph's form: Bucy and Joseph,
        Filtering for Stochastic Processes, 1968.
    """

    def __init__(
        self,
        motion: Motion,
        sensors: Mapping[str, Sensor],
        start: Noise,
        mean: Sequence[float] | None = None,
        gate: float | None = None,
    ) -> None:
        super().__init__(motion, sensors, start, mean, gate)
        if not isinstance(motion, LinearMotion | StepMotion):
            raise TypeError(f"motion is {type(motion).__name__}, needed LinearMotion: take ExtendedKalmanFilter.")
        for name, sensor in sensors.items():
            if not isinstance(sensor, LinearSensor):
                kind = type(sensor).__name__
                raise TypeError(f"sensor {name!r} is {kind}, needed LinearSensor: take ExtendedKalmanFilter.")
            if sensor.seen_matrix.shape[1] != motion.size:
                columns = sensor.seen_matrix.shape[1]
                raise ValueError(f"matrix of sensor {name!r} has {columns} columns, needed {motion.size}: the state's.")

    def transition(self, state: State, elapsed: Tensor, noise: Tensor) -> Transition:
        """Return the move of the mean, its matrix, and the noise as it is."""
        mean = cast(FilterState, state).mean
        matrix = self.motion.jacobian(mean, elapsed)
        return Transition((matrix @ mean.unsqueeze(-1)).squeeze(-1), matrix, noise)

    def prepare(self, stream: str, elapsed: float) -> PreparedKalman:
        """Bind the matrices of one sensor and one time step: what a loop at a fixed rate calls.

        Parameters are taken as they are now, without gradients.

        Args:
            stream: Which sensor.
            elapsed: Seconds from measurement to measurement, above 0.

        Returns:
            A function of mean (B, n), covariance (B, n, n), value (B, m) and mask (B,) or None, to the mean and the
            covariance after a predict and an update.

        Raises:
            ValueError: If the stream is not known or elapsed is not above 0.
        """
        if stream not in self.streams:
            raise ValueError(f"stream {stream!r} is not known, there are {', '.join(self.streams)}: name one of them.")
        if not elapsed > 0:
            raise ValueError(f"elapsed is {elapsed} s, needed more than 0: with no time between, call update.")
        with torch.no_grad():
            state = self.init_state(1)
            time, sensor = state.mean.new_full((1,), elapsed), self.sensors[stream]
            move, drive = self.motion.jacobian(state.mean, time)[0], self.motion.noise(time)[0]
            seen, noise = sensor.jacobian(state.mean)[0], sensor.noise(time)[0]
            return PreparedKalman(move, drive, seen, noise, self._threshold(stream, state.mean))

    def _see(self, state: State, stream: str, value: Tensor) -> Seen:
        mean, sensor = cast(FilterState, state).mean, self.sensors[stream]
        return Seen(value - sensor(mean), sensor.jacobian(mean))


def _table(name: str, rows: Matrix) -> Tensor:
    made = torch.as_tensor(rows, dtype=torch.float64)
    if made.dim() != 2 or not made.numel() or not bool(made.isfinite().all()):
        raise ValueError(f"{name} has shape {tuple(made.shape)}, needed rows of finite numbers: give a matrix.")
    return made


def _square(name: str, matrix: Tensor, noise: Noise) -> int:
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} has shape {tuple(matrix.shape)}, needed (n, n): give a square matrix.")
    if noise.size != matrix.shape[0]:
        raise ValueError(f"noise is of {noise.size} numbers, {name} of {matrix.shape[0]}: they describe one state.")
    return matrix.shape[0]
