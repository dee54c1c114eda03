"""Which values of a packet are believed: looked at in the order of time, so that replays decide alike."""

from __future__ import annotations

import numpy as np

from mambats.streaming.engine import BoolArray, FloatArray, Int64Array
from mambats.streaming.moment import Record, Sensed
from mambats.streaming.policy import Gate, Limit


class ValueGate:
    """Range, saturation and stuck values of one sensor.

    Args:
        gate: The settings.
        channels: Of the sensor, C.

    Raises:
        ValueError: If there is another number of limits than channels, or low is above high.
    """

    def __init__(self, gate: Gate, channels: int) -> None:
        self.gate, self.channels = gate, channels
        self.low, self.high = self._limits(gate.low, -np.inf), self._limits(gate.high, np.inf)
        if (self.low > self.high).any():
            raise ValueError(f"a gate's low {gate.low} is above its high {gate.high}: swap them.")

    def _limits(self, limit: Limit, default: float) -> FloatArray:
        given = np.asarray(default if limit is None else limit, dtype=np.float32)
        if given.shape not in ((), (self.channels,)):
            raise ValueError(f"a gate has {given.size} limits, needed one or {self.channels}: one a channel.")
        return np.broadcast_to(given, (self.channels,))

    def judge(self, record: Record, before: Sensed | None) -> Sensed:
        """Note what of a packet is believed, knowing what the sensor did before it; return what it was seen to do."""
        record.believed, record.masked = record.observed, {"not finite": record.missing} if record.missing else {}
        record.become("used")
        period, offset = 0.0, 0.0
        if before is not None:
            offset, gap = before.offset, record.stamp - before.stamp
            period = float(gap) if before.period == 0 else before.period + 0.1 * (gap - before.period)
        if not self.gate.looks:
            return Sensed(record.stamp, period, offset)
        values, seen = record.values, record.observed
        same, limit = self._runs(values, seen, before)
        self._mask(record, "range", (values < self.low) | (values > self.high))
        if self.gate.saturated:
            self._mask(record, "saturated", limit >= self.gate.saturated)
        if self.gate.stuck:
            self._mask(record, "stuck", same >= self.gate.stuck)
        if record.masked and not record.believed.any() and not self.gate.asks:
            record.become("rejected", next(reversed(record.masked)))
        last = values if before is None or before.values is None else np.where(seen, values, before.values)
        return Sensed(record.stamp, period, offset, last, same, limit)

    def _runs(self, values: FloatArray, seen: BoolArray, before: Sensed | None) -> tuple[Int64Array, Int64Array]:
        """For how many packets each channel has not changed, and has been at a limit; this one counts."""
        at_limit = (values <= self.low) | (values >= self.high)
        if before is None or before.values is None or before.same is None or before.limit is None:
            return seen.astype(np.int64), (seen & at_limit).astype(np.int64)
        same = np.where(values == before.values, before.same + 1, 1)
        limit = np.where(at_limit, before.limit + 1, 0)
        return np.where(seen, same, before.same), np.where(seen, limit, before.limit)

    @staticmethod
    def _mask(record: Record, cause: str, wrong: BoolArray) -> None:
        """Take what is wrong off what is believed: each value under the first cause that holds."""
        hit = record.believed & wrong
        if hit.any():
            record.masked[cause] = int(hit.sum())
            record.believed = record.believed & ~hit
