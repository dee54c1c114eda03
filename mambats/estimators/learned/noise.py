"""A filter whose noise an encoder sets, from what the filter was surprised by so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.estimators.inertial import InertialFilter, NavigationTrack
from mambats.estimators.inertial.motion import Interval
from mambats.estimators.inertial.schedule import Schedule
from mambats.estimators.inertial.track import Track
from mambats.estimators.learned.features import Features
from mambats.estimators.learned.scaled import scaled
from mambats.gaussian import Gaussian
from mambats.protocols import Encoder, Estimator, Innovation, State
from mambats.series import SensorRows


class LearnedState(NamedTuple):
    """The filter's state, the encoder's, the factors on all deviations (B, S) and seconds since a measurement (B,)."""

    filter: State
    encoder: State
    scale: Tensor
    age: Tensor


class LearnedNoise(Estimator):
    """Let an encoder set the noise of a filter: each measurement, once taken, may change the noise of what follows.

    The encoder reads one row a measurement (`features`), and a linear head that starts at zero says the logarithm of
    the factor on every standard deviation of process and sensors. So before training this is the filter itself, to
    the bit; the covariance that comes out stays the filter's own; and a measurement never sets its own noise.

    Args:
        estimator: A filter over a motion and sensors, or an inertial filter.
        encoder: A causal encoder; its channels are those of `channels_for`.
        widest: Largest factor on a standard deviation, and its inverse the smallest.
        period: Seconds that count as a gap of 1 to the encoder.

    Raises:
        ValueError: If the encoder's channels do not fit or it is not causal, or `widest` is not above 1.

    Example:
        encoder = CausalEncoder(LearnedNoise.channels_for(kalman), width=16, layers=1)
        learned = LearnedNoise(kalman, encoder)
    """

    def __init__(self, estimator: Estimator, encoder: Encoder, widest: float = 10.0, period: float = 1.0) -> None:
        super().__init__()
        self.estimator, self.encoder, self.widest, self.period = estimator, encoder, widest, period
        self._scaled = scaled(estimator)
        self._features = Features(self._scaled.sizes, self._scaled.context_size)
        self.size, self.streams = estimator.size, estimator.streams
        if encoder.channels != self._features.channels or not encoder.causal:
            raise ValueError(
                f"the encoder has {encoder.channels} channels and causal={encoder.causal}: need a causal one of "
                f"{self._features.channels} (`LearnedNoise.channels_for` counts them)."
            )
        if not (widest > 1 and period > 0):
            raise ValueError(f"widest is {widest} and period {period}: need a factor above 1 and seconds above 0.")
        self._places = self._lay_out()
        self.head = nn.Linear(encoder.width, max(place.stop for place in self._places.values()))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @staticmethod
    def channels_for(estimator: Estimator) -> int:
        """Return the channels that an encoder for this estimator needs."""
        face = scaled(estimator)
        return Features(face.sizes, face.context_size).channels

    def _lay_out(self) -> dict[str, slice]:
        """Say where the factors of the process (by the name "") and of each stream stand."""
        places, start = {"": slice(0, self._scaled.process)}, self._scaled.process
        for name, size in self._scaled.sizes.items():
            places[name] = slice(start, start + size)
            start += size
        return places

    def init_state(self, batch: int) -> LearnedState:
        """Return the state before any measurement: all factors are 1."""
        return self.started(self.estimator.init_state(batch))

    def started(self, state: State) -> LearnedState:
        """Return the state for a filter's own state, with nothing measured yet."""
        like = state.covariance
        scale = like.new_ones(len(like), self.head.out_features)
        return LearnedState(state, self.encoder.init_state(len(like)), scale, like.new_zeros(len(like)))

    def factors(self, scale: Tensor, name: str) -> Tensor:
        """Return the factors (..., m) on the deviations of a stream, or of the process by the name ""."""
        return scale[..., self._places[name]]

    def predict(self, state: LearnedState, elapsed: Tensor) -> LearnedState:
        """Let time pass with the process noise that the encoder set."""
        moved = self._scaled.predict(state.filter, elapsed, self.factors(state.scale, ""))
        return state._replace(filter=moved, age=state.age + elapsed.to(state.age))

    def update(
        self,
        state: LearnedState,
        stream: str,
        value: Tensor,
        *,
        noise: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[LearnedState, Innovation]:
        """Take a measurement with the noise set before it; a `noise` that is given counts as it is."""
        if stream in self._places and noise is None:
            noise = self.noise(state, stream)
        taken, told = self.estimator.update(state.filter, stream, value, noise=noise, mask=mask)
        if stream not in self._places:  # an inertial reading: it is held, nothing was compared
            return state._replace(filter=taken), told
        there = torch.isfinite(value).all(-1) if mask is None else mask & torch.isfinite(value).all(-1)
        return self.learn(state, taken, stream, told, there), told

    def noise(self, state: LearnedState, stream: str) -> Tensor:
        """Return the covariance of a stream that the encoder set, (B, m, m)."""
        return self._scaled.noise(stream, self.factors(state.scale, stream))

    def learn(self, state: LearnedState, taken: State, stream: str, told: Innovation, there: Tensor) -> LearnedState:
        """Show the encoder what a measurement told in the rows where there was one; `taken` is the filter after it."""
        rows = self._features(stream, told, state.age, self._scaled.context(taken))
        weight = self.head.weight
        # Rows with no measurement pass no time to the encoder: `age` keeps it for them, it must not count twice.
        gap = torch.where(there, state.age / self.period, 0.0).to(weight.dtype)
        token, encoded = self.encoder.step(rows.to(weight.dtype), gap, mask_t=there, state=state.encoder)
        log_scale = math.log(self.widest) * torch.tanh(self.head(token) / math.log(self.widest))
        scale = torch.where(there[:, None], log_scale.exp().to(state.scale), state.scale)
        return LearnedState(taken, encoded, scale, torch.where(there, 0.0, state.age))

    def estimate(self, state: LearnedState) -> Gaussian:
        """Return the filter's estimate."""
        return self.estimator.estimate(state.filter)

    def run(
        self,
        rows: Mapping[str, SensorRows],
        length_ns: int,
        state: LearnedState | None = None,
        cut: int | None = None,
    ) -> tuple[NavigationTrack, LearnedState]:
        """Run an inertial filter over a batch of windows as `InertialFilter.run` does; other filters go by
        `filter_window`.

        Args:
            rows: By stream.
            length_ns: Of the window.
            state: At its start.
            cut: Moments after which gradients are cut (truncated backpropagation); None keeps them all.

        Raises:
            TypeError: If the estimator is no inertial filter.
        """  # noqa: D205
        inertial = self._inertial
        begin = self.init_state(len(rows["imu"].values)) if state is None else state
        _, schedule = inertial.schedule(rows, length_ns, begin.filter)
        now, track = begin, Track()
        for k in range(len(schedule.intervals) - 1):
            if cut is not None and k and k % cut == 0:
                now = LearnedState(*cut_gradient(now))
            now = self._moment(self._advance(now, schedule.intervals[k]), schedule, k, track)
        return track.close(schedule), self._advance(now, schedule.intervals[-1])

    def _advance(self, state: LearnedState, interval: Interval) -> LearnedState:
        """Move an inertial filter on over an interval."""
        moved = self._inertial.advance(state.filter, interval, scale=self.factors(state.scale, ""))
        return state._replace(filter=moved, age=state.age + interval.motion.duration)

    def _moment(self, state: LearnedState, schedule: Schedule, k: int, track: Track) -> LearnedState:
        """Take all that was measured at moment k."""
        for name, readings in schedule.streams.items():
            if readings.busy[k]:
                noise = self.noise(state, name)
                taken, told = self._inertial.take(state.filter, name, readings, k, noise=noise)
                state = self.learn(state, taken, name, told, readings.there[:, k])
                track.note(name, k, told)
        track.add(state.filter)
        return state

    @property
    def _inertial(self) -> InertialFilter:
        if not isinstance(self.estimator, InertialFilter):
            raise TypeError(f"{type(self.estimator).__name__} has no inertial unit: use filter_window(learned, ...).")
        return self.estimator


def cut_gradient(state: State) -> State:
    """Return the same state, through which no gradient flows."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, tuple):
        parts = [cut_gradient(part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state
