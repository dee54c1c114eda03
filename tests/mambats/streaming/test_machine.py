"""A stream of two robots against the slow model, by whatever order of events hypothesis finds."""

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mambats.streaming import ClockRule, Gate, Packet, PacketError, Policy, StreamRunner
from mambats.streaming.snapshots.file import decode, encode
from tests.mambats.streaming.slow_model import SlowModel
from tests.mambats.streaming.toy import STREAMS, Leaky

# Shrinking such a run takes minutes; a failing one says its steps.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
ROWS, SENSORS = 2, ("imu", "gnss")


class Machine(RuleBasedStateMachine):
    @initialize(
        slop=st.sampled_from([0, 3]),
        wait=st.sampled_from([0, 10]),
        lateness=st.sampled_from([0, 25]),
        tick=st.sampled_from([None, 7, 20]),
    )
    def begin(self, slop, wait, lateness, tick):
        clock = ClockRule(ahead_ns=10**6)
        self.policy = Policy(slop, wait, lateness, tick_ns=tick, clock=clock, gates={"imu": Gate(high=100.0)})
        self.runner = StreamRunner(Leaky(), self.policy, rows=ROWS)
        self.models = [SlowModel(self.policy) for _ in range(ROWS)]
        self.view, self.settled, self.pushed = [{} for _ in range(ROWS)], [[] for _ in range(ROWS)], []
        self.now, self.forms, self.late = 1000, 0, []

    def packet(self, data_seed, row, sensor, stamp, hole):
        values = np.random.default_rng([data_seed, stamp]).normal(size=STREAMS[sensor]).astype(np.float32)
        values[: {"none": 0, "some": 1, "all": len(values)}.get(hole, 0)] = np.nan
        if sensor == "imu" and hole in ("one high", "all high"):
            values[0 if hole == "one high" else slice(None)] = 101
        return Packet(sensor, stamp, values, row, stamp)

    def take(self, packets):
        self.pushed += packets
        fates = [self.models[packet.row].push(packet) for packet in packets]
        self.late += [packet for packet, fate in zip(packets, fates, strict=True) if fate == "late"]
        self.hear(self.runner.push_many(packets))
        return fates

    def hear(self, answers):
        for a in answers:
            told = (a.stamp_ns, *(float(x) for x in a.outputs["level"]), *a.streams)
            self.view[a.row][a.seq] = told
            if a.settled:
                assert a.seq == len(self.settled[a.row])
                self.settled[a.row].append(told)

    @rule(
        many=st.lists(
            st.tuples(
                st.integers(0, 99),
                st.integers(0, ROWS - 1),
                st.sampled_from(SENSORS),
                st.integers(-40, 12),
                st.sampled_from(["none"] * 5 + ["some", "all", "one high", "all high"]),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def push(self, many):
        packets = []
        for seed, row, sensor, offset, hole in many:
            self.now = max(self.now, self.now + offset)
            packets.append(self.packet(seed, row, sensor, self.now + min(offset, 0), hole))
        self.take(packets)

    @rule(back=st.integers(1, 12))
    def push_again(self, back):
        if self.pushed:
            self.take([self.pushed[-min(back, len(self.pushed))]])

    @rule(wrong=st.sampled_from([[1.0], "text", [[1.0, 2.0, 3.0]], [1j, 0, 0], None]))
    def push_nonsense(self, wrong):
        with pytest.raises(PacketError):
            self.runner.push("imu", self.now, wrong)
        self.forms += 1

    @rule(ahead=st.integers(0, 30))
    def advance(self, ahead):
        self.now += ahead
        for model in self.models:
            model.advance(self.now)
        self.hear(self.runner.advance(self.now))

    @rule(row=st.integers(0, ROWS - 1))
    def flush(self, row):
        self.models[row].flush()
        self.hear(self.runner.flush(row))

    @rule(row=st.integers(0, ROWS - 1))
    def reset(self, row):
        self.models[row].reset()
        self.hear(self.runner.reset(row))

    @rule()
    def drain(self):
        found = self.runner.drain_late()
        assert [(p.stream, p.stamp_ns, p.row, p.sequence) for p in found] == [
            (p.stream, p.stamp_ns, p.row, p.sequence) for p in self.late
        ]
        assert all(np.array_equal(a.values, b.values, equal_nan=True) for a, b in zip(found, self.late, strict=True))
        self.late = []

    @rule()
    def resume_elsewhere(self):
        snapshot = decode(encode(self.runner.state()), "here")
        self.runner = StreamRunner(Leaky(), self.policy, rows=ROWS)
        self.runner.load_state(snapshot)

    @invariant()
    def answers_are_those_of_the_slow_model(self):
        for row, model in enumerate(self.models):
            number = self.runner.lines[row].mark.number
            expected, due = model.answers()
            view = [self.view[row][at] for at in range(number)]
            assert view == expected[:number] and number >= due
            assert self.settled[row] == expected[: len(self.settled[row])]

    @invariant()
    def counters_add_up(self):
        counters = self.runner.counters
        assert counters.balanced() and counters.offset == len(self.pushed) + self.forms
        for name in ("duplicate", "late"):
            assert counters.total(name) == sum(model.counts[name] for model in self.models)
        assert counters.total("rejected", cause="form") == self.forms
        assert counters.total("rejected", cause="not finite") == sum(m.counts["rejected"] for m in self.models)
        taken = sum(counters.total(*fate) for fate in (("used",), ("waiting",), ("rejected", None, "range")))
        assert taken == sum(model.counts["taken"] for model in self.models)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=25, stateful_step_count=20, phases=NO_SHRINKING)


@pytest.mark.slow
class TestLongMachine(Machine.TestCase):
    settings = settings(max_examples=600, stateful_step_count=40, phases=NO_SHRINKING)
