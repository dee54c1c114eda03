"""What a stream believes: faults 5, 6, 12 and 19 of the table in docs/streaming.md."""

import math

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from mambats.streaming import ClockRule, Gate, PacketError, Policy, StreamRunner
from mambats.streaming.snapshots.file import decode, encode
from tests.mambats.streaming.toy import MS, Leaky, packets, run, settled


def answer_rows(answers):
    return np.array([row[3:7] for row in settled(answers)], np.float64)


def test_what_is_not_finite_is_masked_and_forgotten_soon():  # fault 5
    given, random, soon = packets(1400), np.random.default_rng(5), 200
    hit = []
    for packet in given[:1000]:
        values = packet.values.copy()
        values[random.integers(0, len(values))] = random.choice([np.nan, np.inf, -np.inf])
        hit.append(packet._replace(values=values))
    clean, broken = (StreamRunner(Leaky()) for _ in range(2))
    right, found = answer_rows(run(clean, given)), answer_rows(run(broken, [*hit, *given[1000:]]))
    assert found.shape == right.shape and np.isfinite(found).all()
    # The toy's time constant is 100 ms: after 200 packets, 0.9 s, what was masked is a thousandth.
    assert np.abs(found - right)[:1000].max() > 0.1 * np.abs(right).max()
    assert np.abs(found - right)[1000 + soon :].max() < 1e-3 * np.abs(right).max()
    masked = broken.counters.table()["streams"]
    assert sum(row["values masked: not finite"] for row in masked.values()) == len(hit) == 1000


def test_without_the_guard_the_engine_is_poisoned_for_ever():
    engine = Leaky()
    state = engine.init_state(1)
    bad = np.array([[np.nan, 0, 0]], np.float32)
    everything, present = np.ones((1, 3), bool), np.ones(1, bool)
    for at in range(1000):
        event = (bad if at == 0 else np.zeros_like(bad), everything, present)
        outputs, state = engine.step({"imu": event}, np.array([5 * MS]), state)
    assert np.isnan(outputs["level"]).all()


class Exploding(Leaky):
    """Its state overflows at large values, as a model without normalisation."""

    def step(self, events, elapsed_ns, state):
        with np.errstate(over="ignore", invalid="ignore"):
            outputs, after = super().step(events, elapsed_ns, state)
            after["x"] = after["x"] + np.where(np.abs(after["x"]) > 1e6, np.float32(1e38) * after["x"], 0)
        return outputs, after


@pytest.mark.parametrize("rows", [1, 3])
def test_a_state_that_is_not_finite_is_never_kept(rows):
    given = packets(60)
    clean = run(StreamRunner(Exploding(), rows=rows), given)
    runner = StreamRunner(Exploding(), rows=rows)
    answers = []
    for at, packet in enumerate(given):
        if at == 30:
            answers += runner.push("imu", packet.stamp_ns - 1, [1e9, 0, 0])
        answers += runner.push(*packet)
    assert settled(answers + runner.flush()) == settled(clean)
    assert runner.counters.total("rejected", cause="state") == 1 and runner.counters.balanced()


def test_a_robot_whose_packets_are_all_refused_holds_no_more_and_more():
    runner = StreamRunner(Exploding({"imu": 3}), Policy(lateness_ns=5), rows=3)
    runner.push("imu", 0, [1, 2, 3], 1)
    for at in range(1, 200):
        runner.push("imu", at, [1e20, 0, 0], 1)
        assert runner.lines[1].held <= 5 + 2 * 8
    assert runner.counters.total("rejected", cause="state") > 190
    assert runner.push("imu", 200, [1, 2, 3], 1)[-1].streams == ("imu",)


@drawn(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=3, max_size=3),
        min_size=1,
        max_size=8,
    )
)
def test_answers_are_finite_for_all_floats(values):  # fault 19
    runner = StreamRunner(Exploding({"imu": 3}))
    for at, value in enumerate(values):
        for answer in runner.push("imu", at, value):
            assert np.isfinite(answer.outputs["level"]).all()
    assert all(np.isfinite(array).all() for name, array in runner.state().arrays.items() if name.startswith("state."))
    assert runner.counters.balanced()
    assert runner.push("imu", 10**6, [1, 2, 3])[0].streams == ("imu",)


def test_a_double_beyond_float32_is_not_finite():
    runner = StreamRunner(Leaky({"imu": 3}))
    assert runner.push("imu", 0, [1e300, 1.0, 2.0])[0].streams == ("imu",)
    assert runner.counters.masked["imu", "not finite"] == 1


def test_range_saturation_and_stuck_values_are_masked_by_rule():  # fault 6
    gate = Gate(low=-8, high=[8, 8, 4], saturated=3, stuck=5)
    runner = StreamRunner(Leaky({"imu": 3}), Policy(gates={"imu": gate}))
    counts = runner.counters.masked
    runner.push("imu", 0, [9, 0.1, 0])
    assert counts["imu", "range"] == 1
    flagged = []
    for at in range(1, 7):
        runner.push("imu", at, [8, 0.1 + at, at % 3])
        flagged.append(counts["imu", "saturated"])
    assert flagged == [0, 1, 2, 3, 4, 5]  # from the third in a row at the limit or beyond: within n + 1
    runner.push("imu", 7, [1, 2, 3])
    for at in range(8, 14):
        runner.push("imu", at, [at / 2, 2, -at / 10])
    assert counts["imu", "stuck"] == 3 and counts["imu", "saturated"] == 5
    assert runner.counters.total("used") == 14


def test_a_value_that_is_missing_neither_ends_nor_lengthens_a_run():
    runner = StreamRunner(Leaky({"imu": 3}), Policy(gates={"imu": Gate(high=8, stuck=4)}))
    for at, value in enumerate([5, 5, math.nan, 5, 5, math.nan, 6, 8, 8, math.nan, 8]):
        runner.push("imu", at, [value, at, at / 2])
    assert runner.counters.masked["imu", "stuck"] == 1 and runner.counters.masked["imu", "saturated"] == 1


def test_a_packet_without_a_believed_value_is_rejected_by_its_cause():
    runner = StreamRunner(Leaky({"imu": 3}), Policy(gates={"imu": Gate(high=1.0)}))
    assert not runner.push("imu", 0, [2, 3, 4])
    assert not runner.push("imu", 1, [math.nan] * 3)
    assert runner.counters.total("rejected", cause="range") == 1
    assert runner.counters.total("rejected", cause="not finite") == 1
    asking = StreamRunner(Leaky({"imu": 3}), Policy(gates={"imu": Gate(asks=True)}))
    assert len(asking.push("imu", 0, [math.nan] * 3)) == 1


def test_gates_judge_in_the_order_of_time():
    gate = Policy(lateness_ns=30 * MS, gates={"imu": Gate(stuck=3)})
    given = [p._replace(values=np.round(p.values)) for p in packets(200)]
    order = [given[at ^ 1] if at ^ 1 < len(given) else given[at] for at in range(len(given))]
    one, other = StreamRunner(Leaky(), gate), StreamRunner(Leaky(), gate)
    assert settled(run(one, given)) == settled(run(other, order))
    assert +one.counters.masked == +other.counters.masked and sum(one.counters.masked.values()) > 3


def test_clean_data_is_never_flagged_by_the_default_rule(samples=5_000):
    flags_on_clean(samples)


@pytest.mark.slow
def test_clean_data_is_never_flagged_in_a_million_samples():
    flags_on_clean(1_000_000)


def flags_on_clean(samples):
    """Through the gate alone: noise of a tenth of the range, as a sensor that is not at its limits."""
    from mambats.streaming.gate import ValueGate
    from mambats.streaming.moment import Record

    gate, before = ValueGate(Gate(low=-10, high=10, stuck=5), 3), None
    values = np.random.default_rng(6).normal(size=(samples, 3)).astype(np.float32)
    seen = np.ones(3, bool)
    for at in range(samples):
        record = Record(at, 0, 0, values[at], seen)
        before = gate.judge(record, before)
        assert not record.masked and record.fate == "used"


def test_clean_values_of_a_coarse_converter_are_not_flagged_by_the_default_rule():
    """Repeats are what a converter of few bits gives: the default looks for runs at the limits alone."""
    values = np.round(np.random.default_rng(6).normal(size=(2_000, 3)) * 2).astype(np.float32) / 2
    runner = StreamRunner(Leaky({"imu": 3}), Policy(gates={"imu": Gate(low=-8, high=8)}))
    for at, value in enumerate(values):
        runner.push("imu", at, value)
    assert not +runner.counters.masked and runner.counters.total("used") == len(values)


def test_other_units_in_mid_stream_are_kept_out_by_the_range():  # fault 12: a number does not say its unit
    given = packets(60)
    policy = Policy(gates={"imu": Gate(low=-5, high=5, saturated=0)})
    runner, clean = StreamRunner(Leaky(), policy), StreamRunner(Leaky(), policy)
    answers = run(runner, given[:30], flush=False)
    for at in range(10):
        wrong = np.float32([200, -300, 250]) + at  # degrees where radians are meant
        answers += runner.push("imu", given[29].stamp_ns + 1 + at, wrong)
    answers += run(runner, given[30:])
    assert settled(answers) == settled(run(clean, given))
    assert runner.counters.total("rejected", "imu", "range") == 10 and runner.counters.balanced()


def test_an_innovation_over_its_gate_is_left_out():
    gate = Policy(gates={"gnss": Gate(innovation=0.999)})
    given = packets(100)
    runner, clean = StreamRunner(Leaky(), gate), StreamRunner(Leaky(), gate)
    answers = []
    for at, packet in enumerate(given):
        if at % 20 == 10:
            assert packet.stream == "imu"
            both = [packet, packet._replace(stream="gnss", values=np.float32([50, 50]), sequence=1000 + at)]
            answers += runner.push_many(both)
        else:
            answers += runner.push(*packet)
    right = run(clean, given)
    assert settled(answers + runner.flush()) == settled(right)
    used = clean.counters.total("rejected", "gnss", "innovation")
    assert runner.counters.total("rejected", "gnss", "innovation") == used + 5 and runner.counters.balanced()
    with pytest.raises(ValueError, match="gives no nis_imu"):
        StreamRunner(Leaky(), Policy(gates={"imu": Gate(innovation=0.99)}))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("imu", 0, [1.0, 2.0]), r"shape \(2,\), needed \(3,\)"),
        (("imu", 0, [[1.0, 2.0, 3.0]]), r"shape \(1, 3\)"),
        (("imu", 0, ["a", "b", "c"]), "give 3 real numbers"),
        (("imu", 0, [1j, 0, 0]), "complex"),
        (("imu", 0, [[1], [1, 2]]), "no array"),
        (("lidar", 0, [1.0]), "reads imu, gnss"),
        (("imu", 0.5, [1.0, 2.0, 3.0]), "int nanoseconds"),
        (("imu", 2**63, [1.0, 2.0, 3.0]), "within 146 years"),
        (("imu", 0, [1.0, 2.0, 3.0], 1), "row 1 is unknown"),
        (("imu", 0, [1.0, 2.0, 3.0], 0, "7"), "sender's number"),
        ((["imu"], 0, [1.0, 2.0, 3.0]), "is unknown"),
        (("query", 0, []), "asks at ticks"),
    ],
)
def test_another_form_is_an_error_and_changes_nothing(wrong, words):  # fault 12
    given = packets(40)
    runner, clean = StreamRunner(Leaky()), StreamRunner(Leaky())
    answers = run(runner, given[:20], flush=False)
    with pytest.raises(PacketError, match=words):
        runner.push(*wrong)
    answers += run(runner, given[20:])
    assert settled(answers) == settled(run(clean, given))
    assert runner.counters.total("rejected", cause="form") == 1 and runner.counters.balanced()


def test_a_robot_or_a_time_that_is_not_is_named():
    runner = StreamRunner(Leaky(), rows=2)
    for call in (lambda: runner.flush(2), lambda: runner.reset(-1), lambda: runner.advance(5, "a")):
        with pytest.raises(PacketError, match="runs 2 robots"):
            call()
    for stamp in (1.5, None, 2**62, "now"):
        with pytest.raises(PacketError, match="is no time"):
            runner.advance(stamp)
    assert runner.counters.offset == 0


def test_numbers_of_numpy_are_numbers():
    runner = StreamRunner(Leaky(), Policy(lateness_ns=10), rows=2)
    runner.push("imu", np.int64(5), np.float64([1, 2, 3]), np.int32(1), np.uint64(7))
    again = StreamRunner(Leaky(), Policy(lateness_ns=10), rows=2)
    again.load_state(decode(encode(runner.state()), "here"))
    again.push("imu", 6, [1, 2, 3], 1, 7)
    assert again.counters.total("duplicate") == 1


def test_of_many_with_a_wrong_one_none_is_taken():
    runner = StreamRunner(Leaky())
    good = packets(2)
    with pytest.raises(PacketError):
        runner.push_many([*good, good[0]._replace(values=np.zeros(7))])
    assert runner.counters.offset == 1 and runner.lines[0].newest is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Policy(slop_ns=-1),
        lambda: Policy(queue_size=0),
        lambda: Policy(tick_ns=10),
        lambda: Gate(innovation=1.0),
        lambda: Gate(stuck=1),
        lambda: StreamRunner(Leaky(), Policy(gates={"radar": Gate()})),
        lambda: StreamRunner(Leaky(), Policy(gates={"imu": Gate(low=[1, 2])})),
        lambda: StreamRunner(Leaky(), Policy(gates={"imu": Gate(low=2, high=1)})),
        lambda: StreamRunner(Leaky(), rows=0),
        lambda: StreamRunner(Leaky({"imu": 3}), Policy(tick_ns=10, clock=ClockRule(ahead_ns=10))),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="need|gate|tick_ns is 10"):
        wrong()
