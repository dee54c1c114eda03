"""A magnetometer: the earth's field in the body, and the iron of the robot."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mambats.series import Rigid
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.motion import unrotate
from mambats_datasets.synthetic.noise import white
from mambats_datasets.synthetic.reading import Reading
from mambats_datasets.synthetic.trajectory import Trajectory

TIMING = Timing(50.0)
MOUNT = Rigid("base_link", "magnetometer")


@dataclass(frozen=True)
class Magnetometer:
    """Measured = (I + soft) field + hard + noise, in microtesla, along the axes of the mount.

    Args:
        timing: Rate and clock.
        earth: Field of the earth in the world (x east, y north, z up), uT; the default is Zurich's, 48 uT that dip 63
            degrees.
        noise: Standard deviation of one sample, uT.
        hard: Standard deviation of each axis of the constant field of the robot's own iron, uT.
        soft: Standard deviation of each entry of the matrix by which iron bends the field, dimensionless.
        mount: Pose of the sensor in `base_link`.

    Source: Gebre-Egziabher et al., Calibration of strapdown magnetometers in magnetic field domain, J. Aerospace
    Engineering 19, 2006, for the model; noise of the size of the AK09916's data sheet (0.15 uT a step).
    """

    timing: Timing = TIMING
    earth: tuple[float, float, float] = (1.1, 21.5, -42.9)
    noise: float = 0.3
    hard: float = 5.0
    soft: float = 0.02
    mount: Rigid = MOUNT

    @property
    def channels(self) -> tuple[str, ...]:
        """One name a column."""
        return ("mx", "my", "mz")

    @property
    def units(self) -> tuple[str, ...]:
        """One unit a column."""
        return ("uT",) * 3

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation of the noise in one sample."""
        return (self.noise,) * 3

    def read(self, trajectory: Trajectory, generator: torch.Generator) -> Reading:
        """Measure; facts are the hard iron, uT."""
        ticks = self.timing.ticks(trajectory.batch, trajectory.duration, generator)
        batch, count = ticks.time.shape
        motion = trajectory(ticks.time)
        inside = unrotate(motion.quaternion, motion.position.new_tensor(self.earth).expand_as(motion.position))
        turn = torch.from_numpy(self.mount.matrix[:3, :3].T.copy()).to(generator.device)
        soft = torch.eye(3, device=turn.device).double() + white((batch, 3, 3), generator).double() * self.soft
        hard = white((batch, 1, 3), generator).double() * self.hard
        values = inside @ (soft @ turn).mT + hard + white((batch, count, 3), generator) * self.noise
        return Reading(ticks, values, facts={f"hard_{axis}": hard[:, 0, i] for i, axis in enumerate("xyz")})
