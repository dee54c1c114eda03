"""A satellite receiver: positions with slow errors, outages and reflections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mambats.series import Rigid
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.geodesy import degrees_per_metre, local_to_geodetic
from mambats_datasets.synthetic.noise import gauss_markov, spells, white
from mambats_datasets.synthetic.reading import Reading
from mambats_datasets.synthetic.trajectory import Trajectory

CORRELATION = 60.0  # s; slow part of the error (ionosphere, orbits, multipath of a moving antenna)
TIMING = Timing(5.0, latency=0.1)
MOUNT = Rigid("base_link", "gnss")


@dataclass(frozen=True)
class Gnss:
    """Position of the antenna in `map` (x east, y north, z up), or as latitude, longitude and altitude.

    Args:
        timing: Rate and clock; receivers give a fix some tenths of a second late.
        noise: Standard deviation of the white error of east and north, and of up, m.
        wander: The same of the slow error (Gauss-Markov, 60 s), m.
        outage: Share of time without a fix, and mean length of an outage in seconds (bridges, trees).
        multipath: Share of fixes that a reflection spoils, and the standard deviation of their extra error, m.
        mount: Where the antenna sits in `base_link`.
        origin: Latitude and longitude in degrees and altitude in metres of `map`'s origin, to give geodetic positions;
            None for metres.

    Source: the sizes are those of a single-point receiver under open sky (u-blox NEO-M8 data sheet: 2.5 m circular
    error probable), most of it slow; outages and reflections are round numbers.
    """

    timing: Timing = TIMING
    noise: tuple[float, float] = (0.5, 1.0)
    wander: tuple[float, float] = (1.5, 3.0)
    outage: tuple[float, float] = (0.03, 5.0)
    multipath: tuple[float, float] = (0.02, 10.0)
    mount: Rigid = MOUNT
    origin: tuple[float, float, float] | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """One name a column."""
        return ("latitude", "longitude", "altitude") if self.origin is not None else ("px", "py", "pz")

    @property
    def units(self) -> tuple[str, ...]:
        """One unit a column."""
        return ("deg", "deg", "m") if self.origin is not None else ("m", "m", "m")

    @property
    def deviations(self) -> tuple[float, ...]:
        """Of the error of a fix without reflection, white and slow together, in the units of the channels."""
        flat, up = (float(a**2 + b**2) ** 0.5 for a, b in zip(self.noise, self.wander, strict=True))
        if self.origin is None:
            return (flat, flat, up)
        north, east = degrees_per_metre(self.origin[0])
        return (flat * north, flat * east, up)

    def read(self, trajectory: Trajectory, generator: torch.Generator) -> Reading:
        """Measure; truth is `multipath` (B, T, 1), 1 where a reflection spoilt the fix. Outages are not present."""
        ticks = self.timing.ticks(trajectory.batch, trajectory.duration, generator)
        shape, period = (ticks.time.shape[0], ticks.time.shape[1]), 1 / self.timing.rate
        antenna = trajectory(ticks.time).at(self.mount.translation).position
        lost = spells(shape, *self.outage, period, generator)
        bounced = torch.rand(shape, generator=generator, device=generator.device) < self.multipath[0]
        error = self._error(shape, period, generator)
        error += bounced * white((3, *shape), generator) * self.multipath[1]
        values = antenna + error.movedim(0, -1)
        if self.origin is not None:
            values = local_to_geodetic(values, self.origin)
        ticks = ticks._replace(present=ticks.present & ~lost)
        return Reading(ticks, values, {"multipath": bounced[..., None].double()})

    def _error(self, shape: tuple[int, int], period: float, generator: torch.Generator) -> Tensor:
        axes = [[flat, flat, up] for flat, up in (self.noise, self.wander)]
        fast, slow = torch.tensor(axes, dtype=torch.float64, device=generator.device)[..., None, None]
        return white((3, *shape), generator) * fast + slow * gauss_markov(
            (3, *shape), 1.0, CORRELATION, period, generator
        )
