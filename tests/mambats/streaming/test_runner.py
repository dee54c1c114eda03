"""What a stream promises of order, lateness and doubles: faults 1 to 4 of the table in docs/streaming.md."""

import numpy as np
import pytest

from mambats.streaming import Packet, Policy, StreamRunner
from tests.mambats.streaming.toy import MS, Leaky, packets, run, settled, shuffled


def alone(given, **settings):
    return settled(run(StreamRunner(Leaky(), Policy(**settings)), given))


def plain(given):
    """The engine itself, packet by packet in order."""
    engine, state, last, found = Leaky(), Leaky().init_state(1), None, []
    for packet in sorted(given, key=lambda p: p.stamp_ns):
        event = (packet.values[None], np.ones((1, len(packet.values)), bool), np.ones(1, bool))
        gap = 0 if last is None else packet.stamp_ns - last
        outputs, state = engine.step({packet.stream: event}, np.array([gap]), state)
        last = packet.stamp_ns
        found.append((packet.stamp_ns, *(float(x) for x in outputs["level"][0])))
    return found


def test_in_order_it_is_the_engine_itself():
    given = packets(120)
    assert [(stamp, *rest[:4]) for _, _, stamp, *rest in alone(given)] == plain(given)


@pytest.mark.parametrize(
    "settings", [{"lateness_ns": 30 * MS}, {"wait_ns": 30 * MS}, {"wait_ns": 9 * MS, "lateness_ns": 21 * MS}]
)
def test_out_of_order_within_the_lateness_changes_nothing(settings):  # fault 1
    given = packets(150)
    for seed in range(5):
        came = shuffled(given, 30 * MS, seed)
        assert came != given
        runner = StreamRunner(Leaky(), Policy(**settings))
        assert settled(run(runner, came)) == alone(given, **settings)
        assert runner.counters.total("used") == len(given) and runner.counters.balanced()


def test_later_than_the_lateness_is_counted_and_handed_out(monkeypatch):  # fault 2
    given = packets(150)
    old = [Packet("imu", p.stamp_ns - 100 * MS, p.values + 9) for p in given[60:150:10] if p.stream == "imu"]
    came = [*given[:150], *old, *given[150:]]
    runner = StreamRunner(Leaky(), Policy(lateness_ns=20 * MS))
    assert settled(run(runner, came)) == alone(given, lateness_ns=20 * MS)
    assert runner.counters.total("late") == len(old) > 3
    assert runner.counters.table()["streams"]["imu"]["late: lateness"] == len(old)
    assert [packet.stamp_ns for packet in runner.drain_late()] == [packet.stamp_ns for packet in old]
    assert runner.drain_late() == [] and runner.counters.balanced()


def test_duplicates_are_applied_once():  # fault 3
    given, random = packets(200), np.random.default_rng(3)
    came = []
    for packet in given:
        came.append(packet)
        if random.random() < 0.1:
            again = packet._replace(sequence=None) if random.random() < 0.5 else packet
            came.insert(max(0, len(came) - int(random.integers(0, 3))), again)
    runner = StreamRunner(Leaky(), Policy(lateness_ns=30 * MS))
    assert settled(run(runner, came)) == alone(given, lateness_ns=30 * MS)
    assert runner.counters.total("duplicate") == len(came) - len(given) > 5


def test_a_number_that_comes_with_another_stamp_is_a_duplicate_within_the_history():
    runner = StreamRunner(Leaky(), Policy(lateness_ns=30 * MS))
    runner.push("imu", 0, [1, 2, 3], sequence=7)
    runner.push("imu", 5 * MS, [1, 2, 3], sequence=7)
    assert runner.counters.total("duplicate") == 1
    runner.push("gnss", 5 * MS, [1, 2], sequence=7)
    assert runner.counters.total("used") == 2


def test_without_history_the_newest_packet_is_still_known():
    one = StreamRunner(Leaky({"imu": 3}))
    one.push("imu", 5, [1, 2, 3])
    one.push("imu", 5, [1, 2, 3])
    one.push("imu", 4, [1, 2, 3])
    assert one.counters.total("duplicate") == 1 and one.counters.total("late") == 1
    for at in range(6, 30):
        one.push("imu", at, [1, 2, 3], sequence=at)
    assert len(one.lines[0].edge) == 1 and [record.stamp for record in one.lines[0].edge] == [29]


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.5])
def test_missing_packets_leave_their_time_behind(loss):  # fault 4
    given, random = packets(300), np.random.default_rng(4)
    kept = [packet for packet in given if random.random() > loss]
    found = alone(kept)
    assert [(stamp, *rest[:4]) for _, _, stamp, *rest in found] == plain(kept)
    assert np.isfinite([row[3:7] for row in found]).all()


def test_one_stream_is_settled_at_once_and_two_when_no_other_can_come():
    one = StreamRunner(Leaky({"imu": 3}))
    assert [a.settled for a in one.push("imu", 5, [1, 2, 3])] == [True]
    two = StreamRunner(Leaky())
    assert [a.settled for a in two.push("imu", 5, [1, 2, 3])] == [False]
    assert [(a.stamp_ns, a.settled) for a in two.push("imu", 6, [1, 2, 3])] == [(5, True), (6, False)]
    quiet = StreamRunner(Leaky(), Policy(provisional=False))
    assert not quiet.push("imu", 5, [1, 2, 3])
    assert [(a.stamp_ns, a.settled) for a in quiet.push("imu", 6, [1, 2, 3])] == [(5, True)]


def test_equal_stamps_are_one_moment_in_whatever_order():
    answers = []
    for order in ((0, 1), (1, 0)):
        runner = StreamRunner(Leaky())
        both = [("imu", 5, [1, 2, 3]), ("gnss", 5, [1, 2])]
        found = [a for at in order for a in runner.push(*both[at])]
        assert found[-1].streams == ("imu", "gnss") and found[-1].settled and found[-1].seq == 0
        answers.append(found[-1].outputs["level"].tolist())
    assert answers[0] == answers[1]


def test_robots_of_a_batch_are_as_good_as_alone():
    every = [packets(80, row=row, start_ns=row * 3_600_000 * MS) for row in range(5)]
    runner = StreamRunner(Leaky(), Policy(lateness_ns=30 * MS), rows=5)
    came = [shuffled(given, 25 * MS, seed) for seed, given in enumerate(every)]
    answers = []
    for together in zip(*(one[:80] for one in came), strict=False):
        answers += runner.push_many(together)
    rest = [packet for one in came for packet in one[min(map(len, came)) :]]
    answers += runner.push_many(rest) + runner.flush()
    for row, given in enumerate(every):
        mine = [(0, *a[1:]) for a in settled(answers) if a[0] == row]
        assert mine == alone([packet._replace(row=0) for packet in given], lateness_ns=30 * MS)


def test_together_is_as_one_by_one():
    given = shuffled(packets(120), 25 * MS)
    runner = StreamRunner(Leaky(), Policy(lateness_ns=30 * MS))
    together = [a for at in range(0, len(given), 7) for a in runner.push_many(given[at : at + 7])]
    assert settled(together + runner.flush()) == alone(given, lateness_ns=30 * MS)


def test_provisional_answers_under_their_numbers_end_as_the_settled_ones():
    given = shuffled(packets(150), 30 * MS)
    answers = run(StreamRunner(Leaky(), Policy(lateness_ns=30 * MS)), given)
    told = {a.seq: a for a in answers if not a.settled}
    for one in answers:
        if one.settled:
            assert told[one.seq].stamp_ns == one.stamp_ns
            np.testing.assert_array_equal(told[one.seq].outputs["level"], one.outputs["level"])
    assert [a.seq for a in answers if a.settled] == list(range(len(given)))


def test_a_late_packet_may_break_up_a_moment_that_was_complete():
    given = [("imu", 0, [1, 2, 3]), ("gnss", 3, [1, 2]), ("imu", 1, [4, 5, 6])]
    runner = StreamRunner(Leaky(), Policy(slop_ns=5, lateness_ns=10))
    answers = [a for packet in given for a in runner.push(*packet)] + runner.flush()
    assert [(a.stamp_ns, a.streams) for a in answers if a.settled] == [(0, ("imu",)), (3, ("imu", "gnss"))]


def test_a_moment_waits_for_the_slop_unless_it_is_complete():
    runner = StreamRunner(Leaky(), Policy(slop_ns=5))
    assert runner.push("imu", 0, [1, 2, 3]) == []
    assert [a.streams for a in runner.push("gnss", 3, [1, 2])] == [("imu", "gnss")]
    assert runner.push("imu", 10, [1, 2, 3])[0].settled
    assert [a.streams for a in runner.push("imu", 14, [1, 2, 3])] == [("imu",)]
