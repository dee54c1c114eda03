"""A barometer: pressure of the standard atmosphere, and weather that changes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mambats.series import Rigid
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.noise import random_walk, white
from mambats_datasets.synthetic.reading import Reading
from mambats_datasets.synthetic.trajectory import Trajectory

SEA = 101_325.0  # Pa
LAPSE = 0.0065 / 288.15  # 1/m, fall of temperature by its value at sea level
POWER = 5.25588  # g M / (R L)
TIMING = Timing(25.0)
MOUNT = Rigid("base_link", "barometer")


@dataclass(frozen=True)
class Barometer:
    """Pressure p = p0 (1 - L h / T0)^5.256 at height h, + bias that walks + noise.

    Args:
        timing: Rate and clock.
        noise: Standard deviation of one sample, Pa (12 Pa are a metre).
        bias: Standard deviation of the constant error, Pa.
        walk: Density of the random walk of the weather and the sensor, Pa/sqrt(s).
        ground: Height of the world's z = 0 over the sea, m.
        mount: Where it sits in `base_link`.

    Source: ICAO standard atmosphere (Doc 7488), troposphere; noise of the size of the BMP280's data sheet (1.3 Pa
    without filter), bias of its absolute accuracy (100 Pa).
    """

    timing: Timing = TIMING
    noise: float = 1.3
    bias: float = 100.0
    walk: float = 0.2
    ground: float = 0.0
    mount: Rigid = MOUNT

    @property
    def channels(self) -> tuple[str, ...]:
        """One name a column."""
        return ("pressure",)

    @property
    def units(self) -> tuple[str, ...]:
        """One unit a column."""
        return ("Pa",)

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation of the noise in one sample."""
        return (self.noise,)

    def read(self, trajectory: Trajectory, generator: torch.Generator) -> Reading:
        """Measure; truth is `bias` (B, T, 1), Pa."""
        ticks = self.timing.ticks(trajectory.batch, trajectory.duration, generator)
        shape = (ticks.time.shape[0], ticks.time.shape[1])
        height = trajectory(ticks.time).at(self.mount.translation).position[..., 2] + self.ground
        bias = random_walk(shape, self.walk / self.timing.rate**0.5, generator)
        bias += white((shape[0], 1), generator) * self.bias
        values = SEA * (1 - LAPSE * height).pow(POWER) + bias + white(shape, generator) * self.noise
        return Reading(ticks, values[..., None], {"bias": bias[..., None]})
