"""What filters with a Gaussian state have in common: checks, masks, gates and Joseph's form."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from mambats.estimators.gate import thresholds
from mambats.estimators.models import Motion, Noise, Sensor
from mambats.estimators.noise import check_covariance
from mambats.estimators.run import Run, filter_window
from mambats.gaussian import Gaussian
from mambats.protocols import Estimator, Innovation, State
from mambats.series import SensorRows
from mambats_kernels.kalman import kalman_update

_Tree = TypeVar("_Tree", bound=tuple[Tensor, ...])


class FilterState(NamedTuple):
    """Mean (B, n) and covariance (B, n, n)."""

    mean: Tensor
    covariance: Tensor


class Seen(NamedTuple):
    """A measurement as the filter sees it.

    Args:
        residual: Measured less predicted, shape (B, m).
        matrix: How the residual moves with the state's error, shape (B, m, n).
        noise: Covariance that the linearisation adds to the sensor's own, shape (B, m, m), or None.
    """

    residual: Tensor
    matrix: Tensor
    noise: Tensor | None = None


class Filter(Estimator):
    """A filter over a motion and sensors. A subclass says how a state moves and what a sensor sees of it.

    A number of a measurement that is NaN or infinite counts as not measured; the others of its row still are. A state
    is a NamedTuple of tensors with a field `covariance`.

    Args:
        motion: How the state moves.
        sensors: What is measured, by stream; their order settles who comes first among equal stamps.
        start: Covariance of the state before any measurement.
        mean: The state before any measurement, n numbers; None for zeros.
        gate: Probability of letting in a measurement while the filter is consistent (0.99 takes 1 % for outliers);
            None lets all in.

    Raises:
        ValueError: If sizes do not fit together, there is no sensor, or the gate is no probability.
    """

    _mean: Tensor

    def __init__(
        self,
        motion: Motion,
        sensors: Mapping[str, Sensor],
        start: Noise,
        mean: Sequence[float] | None = None,
        gate: float | None = None,
    ) -> None:
        super().__init__()
        if not sensors:
            raise ValueError("sensors is empty: give at least one by the name of its stream.")
        self.motion, self.start, self.mean, self.gate = motion, start, mean, gate
        self._sensors = nn.ModuleDict(cast("Mapping[str, nn.Module]", sensors))
        self.streams = {name: sensor.size for name, sensor in sensors.items()}
        self.size = start.size
        self._check_sizes()
        self.register_buffer("_mean", _row(mean, motion.size), persistent=False)
        for name, size in self.streams.items():
            table = None if gate is None else thresholds(gate, size)
            self.register_buffer(f"_gate_{name}", table, persistent=False)

    @property
    def sensors(self) -> dict[str, Sensor]:
        """Sensors by stream."""
        return dict(cast("Mapping[str, Sensor]", self._sensors.items()))

    def init_state(self, batch: int) -> State:
        """Return the state before any measurement."""
        covariance = self.start(self._mean.new_zeros(batch))
        return FilterState(self._mean.to(covariance).expand(batch, -1), covariance)

    def predict(self, state: State, elapsed: Tensor, *, noise: Tensor | None = None) -> State:
        """Let `elapsed` seconds (B,) >= 0 pass; rows of 0 keep their state to the bit.

        Args:
            state: Before.
            elapsed: Seconds, shape (B,).
            noise: Covariance of what the motion adds, shape (B, n, n), instead of the model's.

        Raises:
            ValueError: If `elapsed` has another shape, is negative or NaN, or `noise` has another shape.
        """
        batch = state.covariance.shape[0]
        elapsed = _seconds(elapsed, batch).to(state.covariance)
        if noise is not None and noise.shape != (batch, self.size, self.size):
            raise ValueError(
                f"noise has shape {tuple(noise.shape)}, needed (B, n, n) = {(batch, self.size, self.size)}."
            )
        drive: Tensor = self.motion.noise(elapsed) if noise is None else noise
        return _choose(elapsed > 0, self._move(state, elapsed, drive), state)

    def update(
        self,
        state: State,
        stream: str,
        value: Tensor,
        *,
        noise: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[State, Innovation]:
        """Take a measurement made now; see `mambats.protocols.Estimator.update`.

        Raises:
            ValueError: If the stream is not known, a shape does not fit, or `noise` is no covariance.
        """
        sensor = self._sensor(stream, value, state.covariance.shape[0])
        finite = value.isfinite()
        seen = self._see(state, stream, value.where(finite, 0.0))
        own: Tensor = sensor.noise(value.new_zeros(value.shape[0])) if noise is None else _checked(noise, value, mask)
        made = kalman_update(
            torch.zeros_like(seen.matrix[:, 0]),
            state.covariance,
            seen.residual.where(finite, torch.nan),
            seen.matrix,
            own if seen.noise is None else own + seen.noise,
            mask=mask,
            gate=self._threshold(stream, value),
        )
        told = Innovation(made.residual, made.innovation, made.nis, made.log_likelihood, made.used)
        return _choose(made.used, self._correct(state, made.mean, made.covariance), state), told

    def estimate(self, state: State) -> Gaussian:
        """Return mean and covariance."""
        return Gaussian(state.mean, state.covariance)

    def run(
        self,
        rows: Mapping[str, SensorRows],
        length_ns: int,
        state: State | None = None,
        noises: Mapping[str, Tensor] | None = None,
    ) -> Run:
        """Filter a window of streams: see `mambats.estimators.filter_window`."""
        return filter_window(self, rows, length_ns, state=state, noises=noises)

    @abstractmethod
    def _move(self, state: State, elapsed: Tensor, noise: Tensor) -> State:
        """Return the state after elapsed (B,) seconds; rows of 0 seconds are put back afterwards."""

    @abstractmethod
    def _see(self, state: State, stream: str, value: Tensor) -> Seen:
        """Return what a measurement (B, m), all of it finite, says of the state."""

    def _correct(self, state: State, error: Tensor, covariance: Tensor) -> State:
        """Return the state moved by error (B, n), with covariance (B, n, n) after it; on a manifold, do it here."""
        return state._replace(mean=state.mean + error, covariance=covariance)

    def _check_sizes(self) -> None:
        """Refuse models of different states; a filter of a state on a manifold has two sizes and says so here."""
        for name, size in (("start", self.start.size), ("motion.noise", self.motion.noise.size)):
            if size != self.motion.size:
                raise ValueError(f"{name} is of {size} numbers, motion of {self.motion.size}: they describe one state.")
        for name, sensor in self.sensors.items():
            if sensor.noise.size != sensor.size:
                raise ValueError(f"the noise of sensor {name!r} is of {sensor.noise.size} numbers, not {sensor.size}.")

    def _threshold(self, stream: str, like: Tensor) -> Tensor | None:
        """The gate of a stream by how many numbers were measured, in the dtype of `like`."""
        return None if self.gate is None else getattr(self, f"_gate_{stream}").to(like)

    def _sensor(self, stream: str, value: Tensor, batch: int) -> Sensor:
        if stream not in self.streams:
            raise ValueError(f"stream {stream!r} is not known, there are {', '.join(self.streams)}: name one of them.")
        if value.shape != (batch, self.streams[stream]):
            needed = (batch, self.streams[stream])
            raise ValueError(f"value of {stream!r} has shape {tuple(value.shape)}, needed (B, m) = {needed}.")
        return cast(Sensor, self._sensors[stream])


def _choose(rows: Tensor, new: _Tree, old: _Tree) -> _Tree:
    """Rows of `new` where (B,) is True, and of `old` to the bit elsewhere."""
    make = cast(Any, type(new))
    return make(*(a.where(rows.reshape(-1, *(1,) * (a.dim() - 1)), b) for a, b in zip(new, old, strict=True)))


def _row(mean: Sequence[float] | None, size: int) -> Tensor:
    if mean is None:
        return torch.zeros(size)
    if len(mean) != size:
        raise ValueError(f"mean has {len(mean)} numbers, motion {size}: give one for each of the state.")
    return torch.as_tensor(mean, dtype=torch.float64)


def _seconds(elapsed: Tensor, batch: int) -> Tensor:
    """Refuse times that run backwards; where values cost a wait to read, they are left alone."""
    if elapsed.shape != (batch,):
        raise ValueError(f"elapsed has shape {tuple(elapsed.shape)}, needed (B,) = ({batch},): one time a row.")
    if elapsed.device.type == "cpu" and not torch._C._are_functorch_transforms_active():
        if elapsed.numel() and not float(elapsed.detach().min()) >= 0:
            raise ValueError(
                f"elapsed has {float(elapsed.detach().min())} s, needed 0 or more: sort events by time, or go back to "
                "an earlier state and run on from there."
            )
    return elapsed


def _checked(noise: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Refuse what is no covariance in rows that measured; others may hold anything finite."""
    size = value.shape[-1]
    if noise.shape != (value.shape[0], size, size):
        raise ValueError(f"noise has shape {tuple(noise.shape)}, needed (B, m, m) = {(value.shape[0], size, size)}.")
    if noise.device.type == "cpu" and not torch._C._are_functorch_transforms_active():
        check_covariance(noise if mask is None else noise[mask], "noise")
    return noise.to(value)
