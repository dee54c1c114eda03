"""How an inertial filter starts: how sure one is of a body before any measurement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """How sure one is of a body before any measurement: standard deviations.

    Args:
        tilt: Of roll and pitch, rad.
        heading: rad.
        velocity: m/s.
        position: m.
        gyro_bias: rad/s.
        accelerometer_bias: m/s^2.

    Raises:
        ValueError: If one is not positive.
    """

    tilt: float = 0.05
    heading: float = 0.5
    velocity: float = 1.0
    position: float = 10.0
    gyro_bias: float = 0.01
    accelerometer_bias: float = 0.2

    def __post_init__(self) -> None:
        """Check numbers."""
        if not min(self.numbers) > 0:
            raise ValueError(f"{self}: need standard deviations above 0.")

    @property
    def numbers(self) -> list[float]:
        """One a number of the error, 15."""
        parts = (self.velocity, self.position, self.gyro_bias, self.accelerometer_bias)
        return [self.tilt, self.tilt, self.heading, *(number for part in parts for number in (part,) * 3)]
