"""The unscented Kalman filter: models made linear by what they do to sigma points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mambats.estimators.filter import Seen
from mambats.estimators.models import Motion, Noise, Sensor
from mambats.estimators.nonlinear import NonlinearFilter, Transition
from mambats.estimators.sigma import SigmaPoints
from mambats.gaussian import Gaussian
from mambats.protocols import State


class UnscentedKalmanFilter(NonlinearFilter):
    """Motion and sensors seen through sigma points, which are drawn anew for each measurement.

    What a function does to the points is split into a linear map and what is left of it; the left-over joins the
    noise. So the update is Joseph's, as every other filter's, and numbers that were not measured are left out.

    Args:
        motion: How the state moves.
        sensors: What is measured, by stream.
        start: Covariance of the state before any measurement.
        mean: The state before any measurement, n numbers; None for zeros.
        gate: Probability of letting in a measurement while the filter is consistent; None lets all in.
        points: Where the sigma points lie; None for `SigmaPoints()`.

    Raises:
        ValueError: If sizes do not fit together, there is no sensor, or the gate is no probability.

    Source: Julier and Uhlmann, Unscented Filtering and Nonlinear Estimation, Proceedings of the IEEE 92, 2004; points
        and weights of van der Merwe 2004; the split is statistical linear regression, Lefebvre, Bruyninckx and
        De Schutter, Comment on "A New Method...", IEEE Transactions on Automatic Control 47, 2002.
    """

    def __init__(
        self,
        motion: Motion,
        sensors: Mapping[str, Sensor],
        start: Noise,
        mean: Sequence[float] | None = None,
        gate: float | None = None,
        points: SigmaPoints | None = None,
    ) -> None:
        super().__init__(motion, sensors, start, mean, gate)
        self.points = points or SigmaPoints()

    def transition(self, state: State, elapsed: Tensor, noise: Tensor) -> Transition:
        """Return the move of the sigma points."""
        times = elapsed.repeat_interleave(2 * self.size + 1)
        made = self.points.carry(self.estimate(state), lambda rows: self.motion(rows, times))
        return Transition(made.mean, made.matrix, made.noise + noise)

    def _see(self, state: State, stream: str, value: Tensor) -> Seen:
        sensor = self.sensors[stream]

        def difference(left: Tensor, right: Tensor) -> Tensor:
            wide = sensor.residual(left.flatten(0, 1), right.flatten(0, 1))
            return wide.view_as(left)

        made = self.points.carry(Gaussian(state.mean, state.covariance), sensor, difference)
        return Seen(sensor.residual(value, made.mean), made.matrix, made.noise)
