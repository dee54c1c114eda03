"""The particle filter: a cloud of weighted states, for what no normal distribution describes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mambats.estimators import draws
from mambats.estimators.cloud import ParticleState, effective, moments, redraw, scatter
from mambats.estimators.filter import _checked, _choose, _row, _seconds
from mambats.estimators.gate import thresholds
from mambats.estimators.models import Motion, Noise, Sensor
from mambats.gaussian import Gaussian
from mambats.protocols import Estimator, Innovation, State

_LOG_2_PI = math.log(2 * math.pi)


class ParticleFilter(Estimator):
    """Move particles by motion and noise, weigh them by what was measured, draw them anew when few carry the weight.

    Bootstrap proposals, systematic resampling, and regularisation: what was drawn is shrunk towards the mean and
    spread with a Gaussian kernel of the optimal width, so that mean and covariance stay and no two are the same. All
    random numbers follow from the keys in the state, row by row: the same state and the same measurements give the
    same result, on any device and in any batch. Weights are differentiable, and so is `log_likelihood` in all
    parameters; which particles are drawn anew counts as a constant.

    Args:
        motion: How the state moves; its noise is added to each particle.
        sensors: What is measured, by stream.
        start: Covariance of the state before any measurement.
        mean: The state before any measurement, n numbers; None for zeros.
        gate: Probability of letting in a measurement while the cloud is consistent and near normal; None lets all in.
        particles: How many, N; errors of chance fall with its root. Sharp sensors lose tracks where N is small: on the
            turn of datasets/bench_turn.py (five numbers, 1 degree, 2 m) even 4,000 lose a few of 300 that the Kalman
            filters keep.
        resample: Particles are drawn anew where their effective number is below this share of N; 0 never does.
        seed: Of `init_state`, where that is given no generator.

    Raises:
        ValueError: If sizes do not fit together, there is no sensor, or a number is out of range.

    Source: Gordon, Salmond and Smith 1993; systematic resampling: Kitagawa 1996; kernel width: Musso, Oudjane and
        Le Gland, Improving Regularised Particle Filters, 2001, equation 12.2.7; shrinking: Liu and West, Combined
        Parameter and State Estimation, 2001 (in the same book), section 10.3.
    """

    _mean: Tensor

    def __init__(
        self,
        motion: Motion,
        sensors: Mapping[str, Sensor],
        start: Noise,
        mean: Sequence[float] | None = None,
        gate: float | None = None,
        particles: int = 1000,
        resample: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if particles < 2 or not 0 <= resample <= 1:
            raise ValueError(f"particles are {particles}, resample {resample}: need at least 2, and a share 0 to 1.")
        if not sensors or not motion.size == motion.noise.size == start.size:
            sizes = f"motion {motion.size}, its noise {motion.noise.size}, start {start.size}"
            raise ValueError(f"{len(sensors)} sensors, and numbers of {sizes}: need a sensor, and one state for all.")
        self.motion, self.start, self.mean, self.gate = motion, start, mean, gate
        self.particles, self.resample, self.seed = particles, resample, seed
        self._sensors = nn.ModuleDict(cast("Mapping[str, nn.Module]", sensors))
        self.streams = {name: sensor.size for name, sensor in sensors.items()}
        self.size = motion.size
        self.register_buffer("_mean", _row(mean, motion.size), persistent=False)

    @property
    def sensors(self) -> dict[str, Sensor]:
        """Sensors by stream."""
        return dict(cast("Mapping[str, Sensor]", self._sensors.items()))

    def init_state(self, batch: int, generator: torch.Generator | None = None) -> ParticleState:
        """Return a cloud drawn before any measurement; keys come from the generator, else from the seed."""
        covariance: Tensor = self.start(self._mean.new_zeros(batch))
        keys = draws.new_keys(batch, self.seed, generator).to(covariance.device)
        noise = scatter(keys, covariance, self.particles)
        weights = noise.new_full((batch, self.particles), -math.log(self.particles))
        return ParticleState(self._mean.to(noise) + noise, weights, draws.next_keys(keys))

    def predict(self, state: State, elapsed: Tensor, *, noise: Tensor | None = None) -> ParticleState:
        """Let `elapsed` seconds (B,) >= 0 pass; rows of 0 keep their state to the bit.

        Args:
            state: Before.
            elapsed: Seconds, shape (B,).
            noise: Covariance of what the motion adds, shape (B, n, n), instead of the model's.

        Raises:
            ValueError: If `elapsed` has another shape, is negative or NaN.
        """
        before = cast(ParticleState, state)
        elapsed = _seconds(elapsed, len(before.keys)).to(before.particles)
        covariance: Tensor = self.motion.noise(elapsed) if noise is None else noise
        times = elapsed.repeat_interleave(self.particles)
        moved: Tensor = self.motion(before.particles.flatten(0, 1), times).view_as(before.particles)
        after = ParticleState(
            moved + scatter(before.keys, covariance, self.particles), before.log_weights, draws.next_keys(before.keys)
        )
        return _choose(elapsed > 0, after, before)

    def update(
        self,
        state: State,
        stream: str,
        value: Tensor,
        *,
        noise: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[ParticleState, Innovation]:
        """Take a measurement made now; numbers that are not finite count as not measured.

        The innovation's residual, covariance and nis are those of the cloud's mean and covariance; its log likelihood
        is that of the cloud itself.

        Raises:
            ValueError: If the stream is not known, a shape does not fit, or `noise` is no covariance.
        """
        before = cast(ParticleState, state)
        sensor = self._sensor(stream, value, len(before.keys))
        known = value.isfinite() if mask is None else value.isfinite() & mask[:, None]
        own: Tensor = sensor.noise(value.new_zeros(len(value))) if noise is None else _checked(noise, value, mask)
        own = _only(own, known)
        filled = torch.where(known, value, 0.0)
        seen: Tensor = sensor(before.particles.flatten(0, 1)).unflatten(0, before.log_weights.shape)
        each = sensor.residual(filled[:, None].expand_as(seen).flatten(0, 1), seen.flatten(0, 1)).view_as(seen)
        nis, log_root = _white(own[:, None], torch.where(known[:, None], each, 0.0))
        log_weights = before.log_weights - 0.5 * (nis + known.sum(-1)[:, None] * _LOG_2_PI) - log_root
        total = torch.logsumexp(log_weights, -1)
        residual, spread = self._innovation(before.log_weights, sensor, filled, seen, known)
        covariance = spread + own
        squared, _ = _white(covariance, residual)
        used = known.any(-1) & total.isfinite()
        if self.gate is not None:
            used = used & (squared <= thresholds(self.gate, sensor.size).to(squared)[known.sum(-1)])
        weighed = before._replace(
            log_weights=torch.where(used[:, None], log_weights - total[:, None], before.log_weights)
        )
        few = effective(weighed) < self.resample * self.particles
        after = _choose(few, redraw(weighed, self.estimate(weighed)), weighed)
        told = Innovation(residual, covariance, squared, torch.where(known.any(-1), total, 0.0), used)
        return _choose(used, after, before), told

    def estimate(self, state: State) -> Gaussian:
        """Return mean and covariance of the cloud; a collapsed one keeps a millionth of the start's covariance."""
        cloud = cast(ParticleState, state)
        mean, covariance = moments(cloud)
        return Gaussian(mean, covariance + 1e-6 * self.start(mean.new_zeros(len(mean))))

    def _innovation(
        self, log_weights: Tensor, sensor: Sensor, value: Tensor, seen: Tensor, known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return measured less predicted (B, m), and the covariance (B, m, m) of what the particles predict."""
        heaviest = log_weights.argmax(-1)
        middle = seen[torch.arange(len(seen), device=seen.device), heaviest][:, None]
        away = sensor.residual(seen.flatten(0, 1), middle.expand_as(seen).flatten(0, 1)).view_as(seen)
        away = torch.where(known[:, None], away, 0.0)
        weights = log_weights.exp()[..., None]
        shift = (weights * away).sum(1)
        residual = torch.where(known, sensor.residual(value, middle[:, 0] + shift), 0.0)
        away = away - shift[:, None]
        return residual, (weights * away).mT @ away

    def _sensor(self, stream: str, value: Tensor, batch: int) -> Sensor:
        if stream not in self.streams:
            raise ValueError(f"stream {stream!r} is not known, there are {', '.join(self.streams)}: name one of them.")
        if value.shape != (batch, self.streams[stream]):
            needed = (batch, self.streams[stream])
            raise ValueError(f"value of {stream!r} has shape {tuple(value.shape)}, needed (B, m) = {needed}.")
        return cast(Sensor, self._sensors[stream])


def _only(covariance: Tensor, known: Tensor) -> Tensor:
    """Return the covariance of what was measured, with the identity's rows and columns elsewhere."""
    both = known.unsqueeze(-1) & known.unsqueeze(-2)
    return torch.where(both, covariance, 0.0) + torch.diag_embed((~known).to(covariance))


def _white(covariance: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Return r' S^-1 r of residuals (..., m), and half the logarithm of the determinant of S."""
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, residual.unsqueeze(-1), upper=False).squeeze(-1)
    return white.square().sum(-1), factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
