"""Which values of a packet are believed: looked at in the order of time, so that replays decide alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mambats.streaming.engine import BoolArray, FloatArray, Int64Array, StepEvent
from mambats.streaming.moment import Record, Sensed
from mambats.streaming.policy import Gate, Limit

_ONE = np.ones(1, np.bool_)


class Verdict(NamedTuple):
    """What the gate says of a packet."""

    observed: BoolArray  #: (C,) what is believed
    masked: Mapping[str, int]  #: values not believed, by cause
    sensed: Sensed  #: what is known of the sensor now


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

    def judge(self, record: Record, before: Sensed | None) -> Verdict:
        """Look at a packet, knowing what the sensor did before it."""
        period, offset = 0.0, 0.0
        if before is not None:
            offset = before.offset
            gap = record.stamp - before.stamp
            period = float(gap) if before.period == 0 else before.period + 0.1 * (gap - before.period)
        if not self.gate.looks:
            return Verdict(record.observed, {}, Sensed(record.stamp, period, offset))
        values, seen = record.values, record.observed
        same, limit = self._runs(values, seen, before)
        last = values if before is None or before.values is None else np.where(seen, values, before.values)
        sensed = Sensed(record.stamp, period, offset, last, same, limit)
        wrong = {"range": (values < self.low) | (values > self.high)}
        if self.gate.saturated:
            wrong["saturated"] = limit >= self.gate.saturated
        if self.gate.stuck:
            wrong["stuck"] = same >= self.gate.stuck
        return self._told(seen, wrong, sensed)

    def _runs(self, values: FloatArray, seen: BoolArray, before: Sensed | None) -> tuple[Int64Array, Int64Array]:
        """For how many packets each channel has not changed, and has been at a limit; this one counts."""
        at_limit = (values <= self.low) | (values >= self.high)
        if before is None or before.values is None or before.same is None or before.limit is None:
            return seen.astype(np.int64), (seen & at_limit).astype(np.int64)
        same = np.where(values == before.values, before.same + 1, 1)
        limit = np.where(at_limit, before.limit + 1, 0)
        return np.where(seen, same, before.same), np.where(seen, limit, before.limit)

    @staticmethod
    def _told(seen: BoolArray, wrong: Mapping[str, BoolArray], sensed: Sensed) -> Verdict:
        """Take what is wrong off what was seen, each value under the first cause that holds."""
        counts = dict[str, int]()
        for cause, channels in wrong.items():
            hit = seen & channels
            if hit.any():
                counts[cause] = int(hit.sum())
                seen = seen & ~channels
        return Verdict(seen, counts, sensed)


def join(channels: int, rows: int, parts: Mapping[int, tuple[FloatArray, BoolArray]]) -> StepEvent:
    """Put the packets of some robots side by side: one stream's event."""
    if rows == 1:
        values, observed = parts[0]
        return StepEvent(values[None], observed[None], _ONE)
    values = np.zeros((rows, channels), np.float32)
    observed, mask = np.zeros((rows, channels), np.bool_), np.zeros(rows, np.bool_)
    for row, (value, seen) in parts.items():
        values[row], observed[row], mask[row] = value, seen, True
    return StepEvent(values, observed, mask)
