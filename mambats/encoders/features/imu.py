"""Inertial samples to tokens at a steady pace: preintegrated, learned, or both."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.encoders.features.extractor import FeatureExtractor
from mambats.encoders.features.interval import NONE, Dealt, deal, put_first, take
from mambats.preprocess.imu import Preintegrated, Preintegration, so3
from mambats.protocols import Encoder, State
from mambats.series import SensorRows

GRAVITY = 9.80665  # m/s^2, the size of what an accelerometer at rest measures: it brings the channels to one size
NONE_YET = -1  # age of a sample that was never taken
MOTION, MEAN = 19, 7  # numbers of a preintegrated interval (3 x 3 of motion, 1 of time, 9 of error) and of its mean


class ImuState(NamedTuple):
    """What is carried from one window to the next.

    Attributes:
        sample: Last sample, shape (B, 6).
        age: Nanoseconds from it to the window's end, shape (B,) int64; -1 where there is none.
        token: Of the encoder at that sample, shape (B, D); D is 0 without an encoder.
        encoder: State of the encoder; empty without one.
    """

    sample: Tensor
    age: Tensor
    token: Tensor
    encoder: State


class ImuEncoder(FeatureExtractor):
    """Turn samples wx wy wz [rad/s] ax ay az [m/s^2] into one token every period, known when the period ends.

    A token reads any of: the motion that the samples of its period add up to (rotation vector, change of velocity
    and of position in the sensor's frame at the beginning, how much of the period was covered, and how uncertain each
    is), the mean sample, and the last token of a causal encoder over all samples. A period that no sample holds over
    has no token. Samples with a value that is not finite or was not observed are not there.

    Args:
        width: Of a token.
        period_ns: Between tokens, nanoseconds; they stand at period, 2 period, ... after the window's start.
        preintegration: How to sum samples, with their noise; None leaves it out.
        encoder: Causal, of 6 channels (specific force comes in units of gravity); None leaves it out.
        mean: Whether to read the mean sample.
        longest: Seconds that a sample holds at most: over a longer pause nothing is claimed.
        room: Samples in a period at most (more are an error on a CPU, left out on a GPU); None counts them, for which a
            GPU is waited for.
        sample_ns: Nanoseconds between samples that count as a gap of 1 to the encoder: 200 Hz.

    Raises:
        ValueError: If nothing is left to read, the encoder is not causal or of other channels, or a number too small.

    Example:
        encoder = ImuEncoder(32, 100_000_000, Preintegration(), CausalEncoder(6, 16, 1))
        tokens = encoder.encode_rows(window.streams["imu"], window.length_ns)  # at 10 Hz

    Online, give it windows of whole periods, one of one period say, with the state carried.

    Source: C. Forster et al., IEEE TRO 2017 (preintegration); M. Brossard et al., AI-IMU, 2020 (learned from raw
    samples).
    """

    reads = 6
    row_by_row = False

    def __init__(
        self,
        width: int,
        period_ns: int,
        preintegration: Preintegration | None = None,
        encoder: Encoder | None = None,
        mean: bool = False,
        longest: float = 0.1,
        room: int | None = None,
        sample_ns: int = 5_000_000,
    ) -> None:
        super().__init__()
        if min(width, period_ns, sample_ns) < 1 or not longest > 0 or (room is not None and room < 1):
            raise ValueError(
                f"width is {width}, period_ns {period_ns}, longest {longest} s, room {room}, sample_ns {sample_ns}: "
                "need above 0."
            )
        if preintegration is None and encoder is None and not mean:
            raise ValueError("there is nothing to read: give a preintegration, an encoder, or mean=True.")
        if encoder is not None and (encoder.channels != 6 or not encoder.causal):
            raise ValueError(f"encoder reads {encoder.channels} channels, causal={encoder.causal}: need 6, and causal.")
        self.width = width
        self.period_ns = period_ns
        self.preintegration = preintegration
        self.encoder = encoder
        self.mean = mean
        self.longest = longest
        self.room = room
        self.sample_ns = sample_ns
        self.learned = 0 if encoder is None else encoder.width
        self.head = nn.Linear(MOTION * (preintegration is not None) + MEAN * mean + self.learned, width)

    def encode_rows(self, rows: SensorRows, length_ns: int) -> SensorRows:
        """Return the tokens of a window on its own; see `FeatureExtractor.encode_rows`."""
        return self(rows, length_ns)[0]

    def carry_rows(self, rows: SensorRows, length_ns: int, state: State) -> tuple[SensorRows, ImuState]:
        """Encode a window after others; see `forward`."""
        return self(rows, length_ns, state)

    def pass_time(self, length_ns: int, state: State) -> State:
        """Let a window without samples pass."""
        return state._replace(age=torch.where(state.age < 0, state.age, state.age + length_ns))

    def init_state(self, batch: int) -> ImuState:
        """Return the state before any sample, on the device of the parameters."""
        zeros = self.head.weight.new_zeros
        inner = () if self.encoder is None else self.encoder.init_state(batch)
        age = torch.full((batch,), NONE_YET, device=self.head.weight.device)
        return ImuState(zeros(batch, 6), age, zeros(batch, self.learned), inner)

    def forward(self, rows: SensorRows, length_ns: int, state: ImuState | None = None) -> tuple[SensorRows, ImuState]:
        """Encode a window; windows of whole periods that follow one another give what one long window gives.

        Args:
            rows: Values (B, T, 6), stamps (B, T) with 0 < stamp <= length.
            length_ns: Of the window.
            state: Of the window before.

        Returns:
            Tokens (B, length // period, width) with gaps in periods, and the state at the window's end.
        """
        if rows.values.ndim != 3 or rows.values.shape[2] != 6:
            raise ValueError(
                f"values have shape {tuple(rows.values.shape)}: need (B, T, 6), wx wy wz [rad/s] ax ay az [m/s^2]."
            )
        state = self.init_state(len(rows.values)) if state is None else state
        rows = _only_whole(rows)
        order, stamps = put_first(rows)
        samples = torch.cat([state.sample.unsqueeze(1).to(rows.values), take(rows.values, order)], 1)
        # What was carried stands before the rows; where nothing was, its stamp is so early that it never holds.
        stamps = torch.cat([torch.where(state.age < 0, -(10**17), -state.age).unsqueeze(1), stamps], 1)
        learned, inner = self._learn(samples, stamps, state)
        dealt = deal(stamps, self.period_ns, length_ns // self.period_ns, round(self.longest * 1e9), self.room)
        covered = dealt.held.sum(-1) > 0
        token = self.head(torch.cat(self._read(samples, learned, dealt), -1))
        token = torch.where(covered.unsqueeze(-1), token, torch.zeros_like(token))
        last = rows.mask.sum(1, keepdim=True)  # in `samples`, one row behind `rows`
        age = length_ns - stamps.gather(1, last)[:, 0]
        age = torch.where((state.age < 0) & (last[:, 0] == 0), torch.full_like(age, NONE_YET), age)
        left = ImuState(take(samples, last)[:, 0], age, take(learned, last)[:, 0], inner)
        return _at_ticks(token, covered, self.period_ns), left

    def _learn(self, samples: Tensor, stamps: Tensor, state: ImuState) -> tuple[Tensor, State]:
        """Return the encoder's tokens at samples (B, 1 + T, 6), the carried one first, and its state."""
        carried = state.token.unsqueeze(1)
        if self.encoder is None:
            return carried.expand(-1, samples.shape[1], -1), ()
        there = stamps[:, 1:] < NONE
        gaps = torch.where(there, stamps.diff(dim=1), torch.zeros_like(stamps[:, 1:])) / self.sample_ns
        made, inner = self.encoder(_in_gravities(samples[:, 1:]), gaps, mask=there, state=state.encoder)
        return torch.cat([carried.to(made), made], 1), inner

    def _read(self, samples: Tensor, learned: Tensor, dealt: Dealt) -> list[Tensor]:
        """Return what a token reads of each interval, (B, K, n) each."""
        parts, weights = list[Tensor](), self.head.weight
        inside, seconds = take(samples, dealt.row), dealt.held.to(samples.dtype) * 1e-9
        if self.preintegration is not None:
            flat = inside.flatten(0, 1)
            motion = self.preintegration(flat[..., :3], flat[..., 3:], seconds.flatten(0, 1))
            numbers = describe_motion(motion, self.preintegration, self.period_ns * 1e-9)
            parts.append(numbers.view(*dealt.last.shape, MOTION).to(weights))
        if self.mean:
            total = seconds.sum(-1, keepdim=True)
            mean = (inside * seconds.unsqueeze(-1)).sum(2) / total.clamp_min(1e-9)
            parts.append(torch.cat([_in_gravities(mean), total * 1e9 / self.period_ns], -1).to(weights))
        if self.encoder is not None:
            parts.append(take(learned, dealt.last.clamp_min(0)).to(weights))
        return parts


def describe_motion(motion: Preintegrated, noise: Preintegration, period: float) -> Tensor:
    """Return 19 numbers of about 1 for each of N intervals, (N, 19).

    Mean angular rate [rad/s], change of velocity over gravity times duration, of position over what gravity covers in
    the duration, the share of the period covered, and the logarithm of each error's deviation over the one of a whole
    period (Forster's for a sensor that does not turn).
    """
    time = motion.duration.clamp_min(1e-9).unsqueeze(-1)
    rotation = so3.logarithm(motion.quaternion) / time
    moved = [motion.velocity / (GRAVITY * time), motion.position / (0.5 * GRAVITY * time.square())]
    gyro, force = noise.gyro_noise**2, noise.accelerometer_noise**2
    usual = (gyro * period, force * period, force * period**3 / 3 + noise.integration_noise**2 * period)
    variances = motion.covariance.diagonal(dim1=-2, dim2=-1).clamp_min(0).split(3, -1)
    least = 1e-30  # far under any variance of a sensor, in float32's range
    errors = [0.5 * ((part + least) / (one + least)).log() for part, one in zip(variances, usual, strict=True)]
    return torch.cat([rotation, *moved, motion.duration.unsqueeze(-1) / period, *errors], -1)


def _in_gravities(samples: Tensor) -> Tensor:
    """Bring rates and forces (..., 6) to one size."""
    return torch.cat([samples[..., :3], samples[..., 3:] / GRAVITY], -1)


def _only_whole(rows: SensorRows) -> SensorRows:
    """Take away samples of which a value is missing."""
    whole = rows.mask & rows.values.isfinite().all(-1)
    if rows.observed is not None:
        whole &= rows.observed.all(-1)
    values = torch.where(whole.unsqueeze(-1), rows.values, torch.zeros_like(rows.values))
    return replace(rows, values=values, mask=whole, observed=None)


def _at_ticks(token: Tensor, covered: Tensor, period_ns: int) -> SensorRows:
    """Stamp tokens (B, K, width) with the ends of their periods."""
    number = torch.arange(1, token.shape[1] + 1, device=token.device).expand_as(covered)
    seen = torch.where(covered, number, torch.zeros_like(number)).cummax(1).values if token.shape[1] else number
    earlier = torch.nn.functional.pad(seen[:, :-1], (1, 0)) if token.shape[1] else seen
    gaps = torch.where(earlier == 0, torch.ones_like(number), number - earlier)
    gaps = torch.where(covered, gaps, torch.zeros_like(gaps))
    return SensorRows(token, covered, gaps.float(), (number * period_ns).masked_fill(~covered, 0))
