"""An inertial unit on wheels: its mount leans, and the treads of the wheels shake it, the faster the quicker."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mambats_datasets.synthetic.grade import CONSUMER
from mambats_datasets.synthetic.imu import Imu, Triad
from mambats_datasets.synthetic.noise import white
from mambats_datasets.synthetic.reading import Reading
from mambats_datasets.synthetic.trajectory import Trajectory

SECOND, ROAD = 0.5, 0.3  # of the shake: its second harmonic, and the noise of the ground, as shares of the first


@dataclass(frozen=True)
class RollingImu(Imu):
    """A consumer unit (`CONSUMER`) that is shaken along its z axis by wheels with treads.

    At speed v the shake has the frequency v / tread and the amplitude shake * v. Each drive has a wheel, a floor and a
    mount of its own, so that neither frequency nor amplitude alone tells the speed, and a mean force is not level.

    Args:
        gyro: Errors of the gyroscopes.
        accel: Errors of the accelerometers.
        lean: Standard deviation of the mount's roll and pitch, rad.
        tread: Way between two lugs of a wheel, metres.
        wear: Standard deviation of the wheel's size from drive to drive, a share.
        shake: Amplitude at 1 m/s, m/s^2; 0 for a smooth ride.
        floor: Standard deviation of the amplitude's logarithm from drive to drive.

    Raises:
        ValueError: If a number is negative, or the tread 0.

    Source: M. Lindfors et al., Vehicle speed tracking using chassis vibrations, IEEE IV 2016, for speed in vibration;
        the numbers are of a wheel of 0.1 m radius with 12 lugs and are ours.
    """

    gyro: Triad = CONSUMER.gyro
    accel: Triad = CONSUMER.accel
    g_sensitivity: float = CONSUMER.g_sensitivity
    lean: float = math.radians(2)
    tread: float = 0.052
    wear: float = 0.03
    shake: float = 2.0
    floor: float = 0.2

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (min(self.lean, self.wear, self.floor) >= 0 <= self.shake and self.tread > 0):
            raise ValueError(
                f"lean is {self.lean} rad, tread {self.tread} m, wear {self.wear}, shake {self.shake}, floor "
                f"{self.floor}: needed 0 or more of each, and a tread above 0."
            )

    def read(self, trajectory: Trajectory, generator: torch.Generator) -> Reading:
        """Measure; see `Imu.read`."""
        reading = super().read(trajectory, generator)
        speed = trajectory(reading.ticks.time).body_velocity[..., 0]
        values = reading.values.clone()
        values[..., 5] += self._shake(speed, generator)
        return replace(reading, values=values)

    def _shake(self, speed: Tensor, generator: torch.Generator) -> Tensor:
        """Acceleration along z (B, T) in m/s^2 at speeds (B, T)."""
        batch = len(speed)
        size, rough = (white((batch, 1), generator).double() * part for part in (self.wear, self.floor))
        begin = 2 * math.pi * torch.rand((2, batch, 1), generator=generator, device=speed.device).double()
        lugs = speed.cumsum(1) / (self.timing.rate * self.tread * (1 + size))
        wave = (2 * math.pi * lugs + begin[0]).sin() + SECOND * (4 * math.pi * lugs + begin[1]).sin()
        return self.shake * rough.exp() * speed * (wave + ROAD * white(tuple(speed.shape), generator).double())

    def _mix(self, batch: int, generator: torch.Generator) -> Tensor:
        """As of `Imu`, with the mount leant: (B, 6, 6)."""
        roll, pitch = (white((2, batch), generator).double() * self.lean).unbind(0)
        one, zero = torch.ones_like(roll), torch.zeros_like(roll)
        rows = ((pitch.cos(), zero, -pitch.sin()), (zero, one, zero), (pitch.sin(), zero, pitch.cos()))
        nod = torch.stack([torch.stack(row, -1) for row in rows], -2)
        rows = ((one, zero, zero), (zero, roll.cos(), roll.sin()), (zero, -roll.sin(), roll.cos()))
        lean = torch.stack([torch.stack(row, -1) for row in rows], -2) @ nod
        made = super()._mix(batch, generator)
        return torch.cat([made[:, :, :3] @ lean, made[:, :, 3:] @ lean], -1)
