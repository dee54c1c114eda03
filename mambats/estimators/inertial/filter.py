"""The error-state filter of inertial navigation: an inertial unit helped by whatever else a robot carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mambats.estimators.inertial.correct import Gate, correct
from mambats.estimators.inertial.errors import SIZES, extras_of, needs_noises, needs_rows
from mambats.estimators.inertial.motion import Interval, carry, sum_readings, wander
from mambats.estimators.inertial.schedule import Layout, Readings, Schedule, lay_out, plan
from mambats.estimators.inertial.sensors import MEASURED, MODELS, View
from mambats.estimators.inertial.smooth import Passed, smoothed
from mambats.estimators.inertial.start import Start
from mambats.estimators.inertial.state import EXTRA, NavigationState, NavigationTrack, keep, needs_floats
from mambats.estimators.inertial.track import Track
from mambats.estimators.models import Noise
from mambats.gaussian import Gaussian
from mambats.preprocess.imu import so3
from mambats.protocols import Estimator, Innovation
from mambats.series import SensorRows
from mambats_kernels.checks import looks_at


class InertialFilter(Estimator):
    """Attitude, velocity, position and biases from an inertial unit and other sensors, each on its own clock.

    The error is rotation (on the right, in the body), velocity, position (in the world, z up), gyroscope bias,
    accelerometer bias; behind them, where `noise` names them, two scale errors of the wheel (`scale`) and the slow
    error of a satellite receiver (`wander`, Gauss-Markov). `update(state, "imu", ...)` only sets the reading, which
    holds until the next one and moves the state in `predict`. Streams are those that `noise` names: `gnss` (position
    of the antenna, m), `wheel` (speed along body x, rate about body z), `rolling` (zeros: velocity along body y and
    z, the non-holonomic constraint), `still` (zeros: velocity at rest), `barometer` (height, m).

    Args:
        noise: Covariances by name. `imu` has four numbers: densities of gyroscope (rad/s/sqrt(Hz)), accelerometer
            (m/s^2/sqrt(Hz)) and of their biases' walks, grown over one second; `scale` two (initial deviations);
            `wander` three (settled deviations, m); the rest as many as the stream measures.
        mounts: Where `gnss`, `wheel`, `rolling` sit in the body, whose place is the inertial unit's; x, y, z in m.
        latency: Seconds that a satellite fix is old when it comes; it can be learned.
        gravity: m/s^2; 9.80665 in the simulator.
        gate: Which measurements to believe.
        start: Deviations of `init_state`.
        wander_seconds: Correlation time of the slow error.
        wheel_period: Seconds over which `run` averages rows of `wheel` and `rolling`, or None for each row by itself.
            The gyroscope is averaged over the same rows, and the speed taken as that much older.

    Raises:
        ValueError: If `noise` lacks `imu`, or a name or size is unknown.

    Source: Sola, Quaternion kinematics for the error-state Kalman filter, 2017, sections 5 to 6; propagation by
        preintegration as Forster et al., TRO 2017.
    """

    def __init__(
        self,
        noise: Mapping[str, Noise],
        mounts: Mapping[str, Sequence[float]] | None = None,
        latency: float = 0.0,
        gravity: float = 9.80665,
        gate: Gate | None = None,
        start: Start | None = None,
        wander_seconds: float = 60.0,
        wheel_period: float | None = None,
    ) -> None:
        super().__init__()
        needs_noises(noise)
        self.noise, self.mounts, self.gravity, self.gate, self.start = noise, mounts, gravity, gate, start
        self.wander_seconds, self.wheel_period = wander_seconds, wheel_period
        self.latency = latency
        self.noises = nn.ModuleDict(noise)
        self.delay = nn.Parameter(torch.tensor(float(latency)))
        self.streams = {name: MEASURED[name] for name in MEASURED if name in noise}
        self.extras = extras_of(noise)
        self.size = EXTRA + sum(SIZES[name] for name in self.extras)
        self._gate, self._start, self._order = gate or Gate(), start or Start(), list(self.streams)
        for name in self._order:
            lever = torch.tensor(list((mounts or {}).get(name, (0.0, 0.0, 0.0))), dtype=torch.float64)
            needs_floats(f"mounts[{name!r}]", lever, (3,))
            self.register_buffer(f"lever_{name}", lever.to(self.delay.dtype), persistent=False)

    def init_state(self, batch: int) -> NavigationState:
        """Return bodies level, at rest at the origin, with the deviations of `start`."""
        zeros = self.delay.new_zeros(batch, 3)
        level = torch.cat([zeros, zeros[:, :1] + 1], -1)
        return self.aligned(level, zeros, zeros)

    def aligned(
        self,
        quaternion: Tensor,
        velocity: Tensor,
        position: Tensor,
        deviations: Start | None = None,
        bias: Tensor | None = None,
    ) -> NavigationState:
        """Return bodies with a given pose and velocity, and how sure one is of them.

        Args:
            quaternion: Shape (B, 4), x y z w; brought to length 1.
            velocity: Shape (B, 3), m/s.
            position: Shape (B, 3), m.
            deviations: None for those of the filter.
            bias: Shape (B, 6), or None for none.

        Raises:
            ValueError: If a shape differs, a number is not finite or a quaternion is zero.
        """
        batch = len(quaternion)
        bias = velocity.new_zeros(batch, 6) if bias is None else bias
        parts = {"quaternion": quaternion, "velocity": velocity, "position": position, "bias": bias}
        for (name, part), width in zip(parts.items(), (4, 3, 3, 6), strict=True):
            needs_floats(name, part, (batch, width))
            if looks_at(part) and not bool(torch.isfinite(part).all()):
                raise ValueError(f"{name} has a number that is not finite: an alignment needs all of them.")
        length = quaternion.norm(dim=-1, keepdim=True)
        if looks_at(length) and not bool((length > 1e-6).all()):
            raise ValueError("a quaternion is zero: give x y z w of length 1.")
        quaternion = quaternion / length
        variances = velocity.new_tensor((deviations or self._start).numbers).square()
        tilts = so3.matrix(quaternion).mT @ torch.diag(variances[:3]) @ so3.matrix(quaternion)
        covariance = torch.zeros(batch, self.size, self.size).to(velocity)
        covariance[:, :EXTRA, :EXTRA] = torch.diag(variances)
        covariance[:, :3, :3] = 0.5 * (tilts + tilts.mT)  # tilt and heading are about the world's axes
        for name, place in self.extras.items():
            inside = slice(EXTRA + place.start, EXTRA + place.stop)
            covariance[:, inside, inside] = self._noise(name, batch).to(velocity)
        up = velocity.new_tensor([0.0, 0.0, self.gravity]).expand(batch, 3)
        resting = torch.cat([velocity.new_zeros(batch, 3), so3.rotate(so3.conjugate(quaternion), up)], -1) + bias
        extra, rejected = (velocity.new_zeros(batch, n) for n in (self.size - EXTRA, len(self._order)))
        return NavigationState(quaternion, velocity, position, bias, extra, covariance, resting, rejected)

    def predict(self, state: NavigationState, elapsed: Tensor, *, scale: Tensor | None = None) -> NavigationState:
        """Move on by the reading held for `elapsed` seconds (B,); `scale` (B, 4) multiplies the densities of `imu`."""
        needs_floats("elapsed", elapsed, (len(state.bias),))
        if not bool((elapsed >= 0).all()):
            raise ValueError(f"elapsed is {float(elapsed.min())} s: need 0 or more; a late measurement is taken back "
                             "in time by keeping an earlier state.")  # fmt: skip
        interval = sum_readings(state.reading[:, None], elapsed[:, None], state.bias, state.reading)
        return self.advance(state, interval, scale=scale)

    def advance(self, state: NavigationState, interval: Interval, *, scale: Tensor | None = None) -> NavigationState:
        """Move on over an interval; bodies for which it has no length stay as they are, but for the reading."""
        return self.pass_over(state, interval, scale=scale)[0]

    def pass_over(
        self, state: NavigationState, interval: Interval, *, scale: Tensor | None = None
    ) -> tuple[NavigationState, Tensor]:
        """Move on as `advance` does; return d error at the end / d error at the start, (B, n, n), too."""
        elapsed = interval.motion.duration
        densities = self._noise("imu", len(elapsed), scale).diagonal(dim1=-2, dim2=-1).to(elapsed)
        moved, change = carry(state, interval, densities, self.gravity)
        if (place := self.extras.get("wander")) is not None:
            level = self._noise("wander", len(elapsed)).to(elapsed)
            moved, factor = wander(moved, elapsed, place, level, self.wander_seconds)
            change = factor[:, :, None] * change
        return keep(elapsed > 0, moved, state)._replace(reading=interval.reading), change

    def update(
        self,
        state: NavigationState,
        stream: str,
        value: Tensor,
        *,
        noise: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[NavigationState, Innovation]:
        """Take a measurement made now; of `imu`, hold it (its innovation says nothing: nis 0, likelihood 0)."""
        if stream not in self.streams:
            raise ValueError(f"stream is {stream!r}: this filter has {list(self.streams)}; name its noise to add one.")
        needs_floats("value", value, (len(state.bias), self.streams[stream]))
        there = torch.ones(len(value), dtype=torch.bool, device=value.device) if mask is None else mask
        if stream == "imu":
            return _hold(state, value, there & torch.isfinite(value).all(-1))
        return self.measure(state, stream, value, there, noise=noise)

    def measure(
        self,
        state: NavigationState,
        stream: str,
        value: Tensor,
        mask: Tensor,
        *,
        noise: Tensor | None = None,
        late: Tensor | None = None,
        reading: Tensor | None = None,
    ) -> tuple[NavigationState, Innovation]:
        """Take a measurement of any stream but `imu`, made `late` seconds (B,) ago, with the reading of then (B, 6)."""
        reading = state.reading if reading is None else reading
        zero = self.delay.to(value) if stream == "gnss" else value.new_zeros(())
        view = View(
            state._replace(reading=reading),
            so3.matrix(state.quaternion),
            reading[:, :3] - state.bias[:, :3],
            self.get_buffer(f"lever_{stream}").to(value),
            zero if late is None else zero + late,
            self.extras.get("scale"),
            self.extras.get("wander"),
            self.gravity,
        )
        predicted, rows = MODELS[stream](view)
        covariance = self._noise(stream, len(value)).to(value) if noise is None else noise
        place = self._order.index(stream)
        return correct(state, value - predicted, rows, covariance, mask, self._gate, place)

    def estimate(self, state: NavigationState) -> Gaussian:
        """Return the error's distribution: mean zero (B, n), and covariance; the mean state stands in the state."""
        return Gaussian(torch.zeros_like(state.covariance[..., 0]), state.covariance)

    def run(
        self, rows: Mapping[str, SensorRows], length_ns: int, state: NavigationState | None = None
    ) -> tuple[NavigationTrack, NavigationState]:
        """Filter a batch of windows, the inertial unit's rows summed up between the others' moments.

        As `predict` and `update` row by row, but that a bias learned in the window is put into the sums to first
        order. Rows that are not finite or in part unobserved are not there; an unobserved row of `imu` is a
        guess, taken with 30 times the noise. A reading holds from its stamp to the next
        one; of readings of an instant, `centred` moves the stamps to the middle of what they hold.

        Args:
            rows: By stream, `imu` among them; a stream of no channels asks for the state at its moments.
            length_ns: Of the window.
            state: At the window's start; None for `init_state`.

        Returns:
            The state behind every moment of the other streams, and at the window's end.

        Raises:
            ValueError: If `imu` is missing, a stream is unknown or has other channels.
        """
        state, schedule = self.schedule(rows, length_ns, state)
        track = Track()
        for k, interval in enumerate(schedule.intervals[:-1]):
            state = self._moment(self.advance(state, interval), schedule, k, track)
        return track.close(schedule), self.advance(state, schedule.intervals[-1])

    def smooth(
        self,
        rows: Mapping[str, SensorRows],
        length_ns: int,
        state: NavigationState | None = None,
        lag: float | None = None,
    ) -> NavigationTrack:
        """Estimate each moment by what was measured until `lag` seconds after it; None takes the whole window.

        Args:
            rows: As of `run`.
            length_ns: Of the window.
            state: At the window's start.
            lag: Seconds; where bodies have clocks of their own, the least of them.
        """
        state, schedule = self.schedule(rows, length_ns, state)
        track, passed = Track(), list[Passed]()
        for k, interval in enumerate(schedule.intervals[:-1]):
            predicted, change = self.pass_over(state, interval)
            after = self._moment(predicted, schedule, k, track)
            passed.append(Passed(state, predicted, state.covariance @ change.mT, after))
            state = after
        return track.close(schedule, smoothed(passed, schedule.stamps, lag))

    def _moment(self, state: NavigationState, schedule: Schedule, k: int, track: Track) -> NavigationState:
        """Take all that was measured at moment k."""
        for name, readings in schedule.streams.items():
            if readings.busy[k]:
                state, innovation = self.take(state, name, readings, k)
                track.note(name, k, innovation)
        track.add(state)
        return state

    def schedule(
        self, rows: Mapping[str, SensorRows], length_ns: int, state: NavigationState | None
    ) -> tuple[NavigationState, Schedule]:
        """Return the state that a window starts from, and its moments."""
        needs_rows(rows, self.streams, length_ns)
        state = self.init_state(len(rows["imu"].values)) if state is None else state
        with torch.no_grad() if not rows["imu"].values.requires_grad else torch.enable_grad():
            return state, plan(self._ordered(rows), length_ns, state, self._average())

    def lay_out(self, rows: Mapping[str, SensorRows], length_ns: int, state: NavigationState) -> Layout:
        """Return a window's moments as `run` goes through them, in shapes that do not depend on numbers: for a graph.

        Every stream has a row or more, if only a masked one; nothing is looked at. The first body has every row that
        any of them has, and all have its moments, as bodies on one clock have in `run`.
        """
        return lay_out(self._ordered(rows), length_ns, state, self._average(), fixed=True)

    def _ordered(self, rows: Mapping[str, SensorRows]) -> dict[str, SensorRows]:
        return {name: rows[name] for name in sorted(rows, key=[*self._order, *rows].index)}

    def _average(self) -> dict[str, int]:
        period = None if self.wheel_period is None else round(self.wheel_period * 1e9)
        return {} if period is None else {"wheel": period, "rolling": period}

    def take(
        self, state: NavigationState, stream: str, readings: Readings, k: int, *, noise: Tensor | None = None
    ) -> tuple[NavigationState, Innovation]:
        """Take the k-th measurements of a stream in a schedule."""
        values, there = readings.values[:, k], readings.there[:, k]
        late, inertial = readings.late[:, k], readings.inertial[:, k]
        return self.measure(state, stream, values, there, noise=noise, late=late, reading=inertial)

    def _noise(self, name: str, batch: int, scale: Tensor | None = None) -> Tensor:
        return self.noises[name](self.delay.new_ones(batch), scale)


def _hold(state: NavigationState, value: Tensor, mask: Tensor) -> tuple[NavigationState, Innovation]:
    zeros = torch.zeros_like(value)
    eye = torch.eye(value.shape[-1]).to(value).repeat(len(value), 1, 1)
    held = torch.where(mask[:, None], value, state.reading)
    return state._replace(reading=held), Innovation(zeros, eye, zeros[:, 0], zeros[:, 0], mask)
