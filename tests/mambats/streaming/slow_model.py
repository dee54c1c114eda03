"""What a stream must answer, computed from scratch each time: sort all packets that still count, apply them once."""

import numpy as np

from tests.mambats.streaming.toy import STREAMS, Leaky

RANKS = {name: rank for rank, name in enumerate(STREAMS)}


class SlowModel:
    """One robot. No queue, no way back, no state kept: everything is done again whenever it is asked."""

    def __init__(self, policy):
        self.policy, self.taken, self.counts = policy, [], dict.fromkeys(("taken", "duplicate", "late", "rejected"), 0)
        self.newest = self.horizon = self.flushed = None
        self.past = []  # answers before the last reset

    def push(self, packet):
        fate = self._fate(packet)
        self.counts[fate] += 1
        if fate == "taken":
            self.taken.append(packet)
        if fate == "taken" or (fate == "rejected"):
            self.advance(packet.stamp_ns)
        return fate

    def _fate(self, packet):
        if self.horizon is not None and packet.stamp_ns < self.horizon:
            return "late"
        if any((p.stream, p.stamp_ns) == (packet.stream, packet.stamp_ns) for p in self.taken):
            return "duplicate"
        return "taken" if np.isfinite(packet.values).any() else "rejected"

    def advance(self, stamp):
        self.newest = stamp if self.newest is None else max(self.newest, stamp)
        self._raise(self.newest - self.policy.wait_ns - self.policy.lateness_ns)

    def flush(self):
        if self.newest is not None:
            self._raise(self.newest + self.policy.slop_ns + 1)
            self.flushed = self.horizon

    def reset(self):
        self.flush()
        self.past, _ = self.answers()
        self.taken, self.newest, self.horizon, self.flushed = [], None, None, None

    def _raise(self, stamp):
        self.horizon = stamp if self.horizon is None else max(self.horizon, stamp)

    @property
    def watermark(self):
        known = [
            x
            for x in (None if self.newest is None else self.newest - self.policy.wait_ns, self.flushed)
            if x is not None
        ]
        return max(known, default=None)

    def moments(self):
        """Every moment that can be made of what is known: packets, stamp, and whether it has to be taken by now."""
        left, tick, found = sorted(self.taken, key=lambda p: (p.stamp_ns, RANKS[p.stream])), None, []
        period, slop = self.policy.tick_ns, self.policy.slop_ns
        if period and left:
            tick = -(-left[0].stamp_ns // period) * period
        while left or tick is not None:
            if tick is not None and (not left or tick < left[0].stamp_ns):
                if tick >= self.watermark:
                    break
                found.append(([], tick, True))
                tick += period
                continue
            anchor, group = left[0].stamp_ns, []
            end = anchor + slop if tick is None else min(anchor + slop, tick)
            while left and left[0].stamp_ns <= end and left[0].stream not in {p.stream for p in group}:
                group.append(left.pop(0))
            asks = tick is not None and tick <= anchor + slop and not (left and left[0].stamp_ns <= end)
            if asks and tick >= self.watermark:
                break
            due = asks or anchor + slop <= self.watermark
            found.append((group, tick if asks else group[-1].stamp_ns, due))
            tick = tick + period if asks else tick
        return found

    def answers(self):
        """Stamp, numbers and streams of every moment, and how many of them have to be answered by now."""
        engine = Leaky()
        state, last, found, due = engine.init_state(1), None, list(self.past), len(self.past)
        for group, stamp, must in self.moments():
            believed = [p for p in sorted(group, key=lambda p: RANKS[p.stream]) if self._believed(p).any()]
            events = {p.stream: _event(np.where(self._believed(p), p.values, np.nan)) for p in believed}
            if not group or (self.policy.tick_ns and stamp % self.policy.tick_ns == 0 and stamp < self.watermark):
                events["query"] = _event(np.zeros(0, np.float32))
            if not events:
                continue
            outputs, state = engine.step(events, np.array([0 if last is None else stamp - last]), state)
            last = stamp
            found.append(
                (stamp, *(float(x) for x in outputs["level"][0]), *(name for name in events if name != "query"))
            )
            due += must
        return found, due

    def _believed(self, packet):
        """What is measured and not over the range of its gate."""
        gate = self.policy.gates.get(packet.stream)
        return np.isfinite(packet.values) & ~(packet.values > (np.inf if gate is None else gate.high))


def _event(values):
    observed = np.isfinite(values)
    return np.where(observed, values, 0)[None], observed[None], np.ones(1, bool)
