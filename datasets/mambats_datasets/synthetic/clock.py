"""When a sensor measures, and what its clock says of it."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

PPM = 1e-6


class Ticks(NamedTuple):
    """Instants of B sensors, T each.

    `time` is the true time of each measurement and `stamp` what the sensor's clock said of it, (B, T) float64 seconds,
    both rising; `present` (B, T) bool is False where the measurement was lost.
    """

    time: Tensor
    stamp: Tensor
    present: Tensor


@dataclass(frozen=True)
class Timing:
    """Rate and clock of a sensor.

    The sensor measures at regular times of its own clock, which runs fast by `drift` and showed `offset` at true time
    0: stamp = offset + time * (1 + drift) + latency + jitter. A filter that trusts stamps thinks of a measurement as
    taken that much later.

    Args:
        rate: Measurements a second by its own clock, Hz.
        latency: Mean delay from the measurement to its stamp, s.
        jitter: Standard deviation of that delay, s; cut at 0.45 periods, so that stamps rise.
        offset: Of its clock at true time 0, s, positive where it is ahead.
        drift: Of its clock, parts per million, positive where it is fast.
        dropout: Share of measurements that are lost.

    Raises:
        ValueError: If rate is not positive, jitter is negative, dropout lies outside [0, 1), or a number is not finite.
    """

    rate: float
    latency: float = 0.0
    jitter: float = 0.0
    offset: float = 0.0
    drift: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check numbers."""
        if not all(math.isfinite(number) for number in astuple(self)):
            raise ValueError(f"{self} has a number that is not finite.")
        if not (self.rate > 0 and self.jitter >= 0 and 0 <= self.dropout < 1):
            raise ValueError(
                f"rate {self.rate} Hz must be positive, jitter {self.jitter} s not negative and dropout {self.dropout} "
                "in [0, 1)."
            )

    def ticks(self, batch: int, duration: float, generator: torch.Generator) -> Ticks:
        """All measurements from true time 0, the first, until before `duration` seconds."""
        device, pace = generator.device, 1 + self.drift * PPM
        count = math.ceil(duration * pace * self.rate - 1e-9)  # 60 s at 200 Hz are 12,000 rows whatever rounding does
        own = (torch.arange(count, device=device, dtype=torch.float64) / self.rate).expand(batch, count)
        stamp = own + (self.offset + self.latency)
        if self.jitter:
            late = torch.randn((batch, count), generator=generator, device=device) * self.jitter
            stamp = stamp + late.clamp_(-0.45 / self.rate, 0.45 / self.rate)
        if self.dropout:
            present = torch.rand((batch, count), generator=generator, device=device) >= self.dropout
        else:
            present = torch.ones((batch, count), dtype=torch.bool, device=device)
        return Ticks(own / pace, stamp, present)
