"""Noisy oscillators on a clock, with gaps if wanted."""

from __future__ import annotations

import numpy as np

from mambats.formats.error import DataError
from mambats.series import Recording, Stream

HOUR = 3600 * 10**9
START = 1_577_836_800 * 10**9  # 2020-01-01


class Oscillators:
    """Sums of a daily cycle, a slower one and noise; every series has its own phases.

    Args:
        rows: Rows of the first series; later ones are shorter by a tenth each, so lengths differ.
        channels: Channels of each series.
        series: How many series.
        noise: Standard deviation of the noise; the cycles have amplitude 1 and 0.5.
        absent: Share of rows that were not measured (their row stays, without values).
        irregular: Share of rows that are left out, so that the clock is irregular.
        covariates: Add the stream `past` (a lagged copy) and the stream `future` (the cycle known in advance).
        seed: Key of all random numbers.
    """

    name = "oscillators"

    def __init__(
        self,
        rows: int = 1000,
        channels: int = 2,
        series: int = 1,
        noise: float = 0.1,
        absent: float = 0.0,
        irregular: float = 0.0,
        covariates: bool = False,
        seed: int = 0,
    ) -> None:
        if min(rows, channels, series) < 1 or not (0 <= absent < 1 and 0 <= irregular < 1):
            raise DataError(
                f"rows {rows}, channels {channels}, series {series} must be at least 1; "
                f"absent {absent} and irregular {irregular} must lie in [0, 1)."
            )
        self.rows, self.channels, self.series, self.noise = rows, channels, series, noise
        self.absent, self.irregular, self.covariates, self.seed = absent, irregular, covariates, seed

    def recordings(self) -> list[Recording]:
        """Return the series, the same for the same arguments."""
        return [self._recording(index) for index in range(self.series)]

    def _recording(self, index: int) -> Recording:
        rng = np.random.default_rng([self.seed, index])
        rows = max(1, int(self.rows * 0.9**index))
        time = np.arange(rows)
        kept = np.ones(rows, dtype=np.bool_)
        kept[1:] = rng.random(rows - 1) >= self.irregular
        phase = rng.uniform(0, 2 * np.pi, (2, self.channels))
        cycle = np.sin(2 * np.pi * time[:, None] / 24 + phase[0])
        slow = 0.5 * np.sin(2 * np.pi * time[:, None] / 168 + phase[1])
        values = cycle + slow + self.noise * rng.standard_normal((rows, self.channels))
        stamps = START + time * HOUR
        names = tuple(f"channel_{i}" for i in range(self.channels))
        streams = {"target": self._target(rng, stamps[kept], values[kept], names)}
        if self.covariates:
            lagged = np.roll(values[:, :1], 1, axis=0)
            streams["past"] = Stream(stamps[kept], lagged[kept], ("lagged",))
            streams["future"] = Stream(stamps[kept], cycle[kept, :1], ("cycle",))
        return Recording(f"oscillator_{index}", streams, {"size": float(index)} if self.covariates else {})

    def _target(
        self, rng: np.random.Generator, stamps: np.ndarray, values: np.ndarray, names: tuple[str, ...]
    ) -> Stream:
        if not self.absent:
            return Stream(stamps, values, names)
        lost = rng.random(len(stamps)) < self.absent
        values[lost] = np.nan
        return Stream(stamps, values, names, np.isfinite(values))
