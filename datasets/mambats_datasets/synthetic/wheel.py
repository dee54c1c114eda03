"""Wheel odometry: speed and yaw rate from wheels that are not quite as large as thought, and slip."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mambats.series import Rigid
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.noise import spells, white
from mambats_datasets.synthetic.reading import Reading
from mambats_datasets.synthetic.trajectory import Trajectory

TIMING = Timing(50.0)
MOUNT = Rigid("base_link", "wheel")


@dataclass(frozen=True)
class Wheel:
    """Speed along body x and rate about body z, as a pair of driven wheels or a car's rear axle gives them.

    Measured v = (1 + s_v) (1 + slip) v + noise and w = (1 + s_w) w + noise.

    Args:
        timing: Rate and clock.
        noise: Standard deviation of one sample, m/s and rad/s.
        scale: Standard deviation of the scale errors s_v (wheel radius) and s_w (radius by track width),
            dimensionless, drawn once a robot.
        slip: Share of time that the wheels slip, and mean length of a spell in seconds.
        slip_size: Bound of the slip within a spell; it is drawn from 0 to this at each spell, of the sign that makes
            the wheels faster than the ground, dimensionless.
        mount: Where the middle of the axle is in `base_link`.

    Source: Borenstein and Feng, Measurement and correction of systematic odometry errors in mobile robots, IEEE T-RO
    12, 1996: scale errors of about 1 per cent before, 0.1 after calibration. Noise and slip are round numbers.
    """

    timing: Timing = TIMING
    noise: tuple[float, float] = (0.02, 0.01)
    scale: tuple[float, float] = (0.01, 0.01)
    slip: tuple[float, float] = (0.02, 0.5)
    slip_size: float = 0.3
    mount: Rigid = MOUNT

    @property
    def channels(self) -> tuple[str, ...]:
        """One name a column."""
        return ("v", "w")

    @property
    def units(self) -> tuple[str, ...]:
        """One unit a column."""
        return ("m/s", "rad/s")

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation of the noise in one sample."""
        return self.noise

    def read(self, trajectory: Trajectory, generator: torch.Generator) -> Reading:
        """Measure; truth is `slip` (B, T, 1), facts are the scale errors."""
        ticks = self.timing.ticks(trajectory.batch, trajectory.duration, generator)
        shape = (ticks.time.shape[0], ticks.time.shape[1])
        motion = trajectory(ticks.time).at(self.mount.translation)
        scale = white((2, shape[0], 1), generator).double() * motion.position.new_tensor(self.scale)[:, None, None]
        slipping = spells(shape, *self.slip, 1 / self.timing.rate, generator)
        slip = slipping * _held(slipping, generator) * self.slip_size
        ideal = torch.stack([motion.body_velocity[..., 0] * (1 + slip), motion.angular_velocity[..., 2]])
        noise = white((2, *shape), generator) * motion.position.new_tensor(self.noise)[:, None, None]
        values = (ideal * (1 + scale) + noise).movedim(0, -1)
        facts = {"scale_v": scale[0, :, 0], "scale_w": scale[1, :, 0]}
        return Reading(ticks, values, {"slip": slip[..., None]}, facts)


def _held(on: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A number in [0, 1) that is drawn anew where a spell begins, (B, T) float64."""
    drawn = torch.rand(on.shape, generator=generator, device=on.device, dtype=torch.float64)
    begins = on & ~on.roll(1, -1)
    row = torch.arange(on.shape[-1], device=on.device).expand(on.shape)
    return drawn.gather(-1, torch.where(begins, row, 0).cummax(-1).values)
