"""An inertial measurement unit: three gyroscopes and three accelerometers with the errors that theirs have."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from mambats.series import Rigid
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.motion import Motion
from mambats_datasets.synthetic.noise import gauss_markov, random_walk, white
from mambats_datasets.synthetic.reading import Reading
from mambats_datasets.synthetic.trajectory import Trajectory, in_blocks

# s. MEMS data sheets give no correlation time; 300 s (accelerometers) and 1000 s (gyroscopes) are in use (RotorS).
CORRELATION = 300.0
TIMING = Timing(200.0)
MOUNT = Rigid("base_link", "imu")


@dataclass(frozen=True)
class Triad:
    """Errors of three like sensors at right angles, in their unit: rad/s of gyroscopes, m/s^2 of accelerometers.

    Measured = (I + S + M) true + bias + noise, clipped to +-limit and rounded to steps; bias = turn-on value + random
    walk + a Gauss-Markov process.

    Args:
        noise: Density of the white noise, unit/sqrt(Hz); one sample has noise * sqrt(rate).
        walk: Density of the bias's random walk, unit/s/sqrt(Hz): after t seconds walk * sqrt(t).
        bias: Standard deviation of the turn-on bias.
        instability: Standard deviation of the Gauss-Markov part of the bias (correlation time 300 s). Allan deviation
            of such a process peaks at 0.62 times it.
        scale: Standard deviation of each scale error in S, dimensionless.
        misalignment: Standard deviation of each off-diagonal entry of M, rad.
        limit: Saturation; inf for none.
        step: Quantisation; 0 for none.

    Raises:
        ValueError: If a number is negative or not a number, or the limit is 0.
    """

    noise: float = 0.0
    walk: float = 0.0
    bias: float = 0.0
    instability: float = 0.0
    scale: float = 0.0
    misalignment: float = 0.0
    limit: float = float("inf")
    step: float = 0.0

    def __post_init__(self) -> None:
        """Check numbers."""
        if not all(number >= 0 for number in astuple(self)) or self.limit == 0:
            raise ValueError(f"{self} has a negative number, or no room under its limit: needed 0 or more of each.")

    def wander(self, batch: int, count: int, rate: float, generator: torch.Generator) -> Tensor:
        """Draw the bias over time, shape (3, B, T)."""
        made = (white((3, batch, 1), generator).double() * self.bias).expand(3, batch, count)
        if self.walk:
            made = random_walk((3, batch, count), self.walk / rate**0.5, generator).add_(made)
        if self.instability:
            made = gauss_markov((3, batch, count), self.instability, CORRELATION, 1 / rate, generator).add_(made)
        return made

    def mix(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draw I + S + M, shape (B, 3, 3)."""
        drawn = white((batch, 3, 3), generator).double()
        eye = torch.eye(3, device=drawn.device, dtype=torch.float64)
        return eye + drawn * (self.scale * eye + self.misalignment * (1 - eye))

    def finish(self, values: Tensor) -> Tensor:
        """Clip and round, in place."""
        if self.limit < float("inf"):
            values.clamp_(-self.limit, self.limit)
        return values.div_(self.step).round_().mul_(self.step) if self.step else values


PERFECT = Triad()


@dataclass(frozen=True)
class Imu:
    """Angular velocity and specific force at a point of the robot; at rest and level the accelerometer reads +9.8 on z.

    Args:
        gyro: Errors of the gyroscopes.
        accel: Errors of the accelerometers.
        timing: Rate and clock.
        mount: Pose of the sensor in `base_link`: it feels the lever arm and is turned.
        g_sensitivity: Standard deviation of each entry of the matrix by which specific force leaks into the
            gyroscopes, (rad/s)/(m/s^2).

    Source: IEEE 952-1997 (R2008), annexes B and C, for the model of errors.
    """

    gyro: Triad = PERFECT
    accel: Triad = PERFECT
    timing: Timing = TIMING
    mount: Rigid = MOUNT
    g_sensitivity: float = 0.0

    @property
    def channels(self) -> tuple[str, ...]:
        """One name a column."""
        return ("wx", "wy", "wz", "ax", "ay", "az")

    @property
    def units(self) -> tuple[str, ...]:
        """One unit a column."""
        return ("rad/s",) * 3 + ("m/s^2",) * 3

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation of the noise in one sample, rounding included (a step's is step / sqrt(12))."""
        triads = (self.gyro, self.accel)
        gyro, accel = (((t.noise**2 * self.timing.rate) + t.step**2 / 12) ** 0.5 for t in triads)
        return (gyro,) * 3 + (accel,) * 3

    def read(self, trajectory: Trajectory, generator: torch.Generator) -> Reading:
        """Measure; truth is `bias` (B, T, 6) in the order of the channels."""
        ticks = self.timing.ticks(trajectory.batch, trajectory.duration, generator)
        batch, count = ticks.time.shape
        values = self._mix(batch, generator) @ in_blocks(trajectory, ticks.time, self.ideal).permute(0, 2, 1)
        values, rate = values.permute(1, 0, 2), self.timing.rate
        bias = torch.cat([triad.wander(batch, count, rate, generator) for triad in (self.gyro, self.accel)])
        values = values + bias
        for triad, part in ((self.gyro, values[:3]), (self.accel, values[3:])):
            if triad.noise:
                part.add_(white((3, batch, count), generator), alpha=triad.noise * rate**0.5)
            triad.finish(part)
        return Reading(ticks, values.movedim(0, -1), {"bias": bias.movedim(0, -1)})

    def ideal(self, motion: Motion) -> Tensor:
        """What a perfect unit at the mount, but with the axes of `base_link`, measures: (B, T, 6)."""
        rates, force = motion.angular_velocity, motion.specific_force(self.mount.translation)
        return torch.cat([rates.movedim(-1, 0), force.movedim(-1, 0)]).movedim(0, -1)

    def _mix(self, batch: int, generator: torch.Generator) -> Tensor:
        """From ideal values along `base_link` to values with scale, misalignment and leaks: (B, 6, 6)."""
        turn = torch.from_numpy(self.mount.matrix[:3, :3].T.copy()).to(generator.device)
        made = turn.new_zeros((batch, 6, 6))
        made[:, :3, :3] = self.gyro.mix(batch, generator) @ turn
        made[:, :3, 3:] = (white((batch, 3, 3), generator).double() * self.g_sensitivity) @ turn
        made[:, 3:, 3:] = self.accel.mix(batch, generator) @ turn
        return made
