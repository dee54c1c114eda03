"""What a stream does about time: clocks that jump or drift, pauses, silence, rates, ticks, full queues: faults 7-13."""

import gc
import resource
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from mambats.streaming import ClockRule, Gate, Packet, Policy, StreamRunner, WriterError
from tests.mambats.streaming.toy import MS, STREAMS, Leaky, Lookback, packets, run, settled, shuffled

SECOND = 1000 * MS


class Watched(Leaky):
    """Notes the time that it is told, and refuses time that runs backwards."""

    def __init__(self, streams=STREAMS):
        super().__init__(streams)
        self.elapsed = []

    def step(self, events, elapsed_ns, state):
        assert (elapsed_ns >= 0).all()
        self.elapsed.append(int(elapsed_ns[0]))
        return super().step(events, elapsed_ns, state)


def moved(given, by_ns):
    return [packet._replace(stamp_ns=packet.stamp_ns + by_ns) for packet in given]


def bare(answers):
    """Numbers alone: of settled answers, without stamps and places."""
    return [row[3:] for row in settled(answers)]


@drawn(
    stamps=st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=30),
    back=st.sampled_from(["reject", "reset", "clamp"]),
    ahead=st.sampled_from(["reject", "reset", "clamp"]),
    patience=st.integers(1, 3),
)
def test_time_never_runs_backwards_for_the_model(stamps, back, ahead, patience):  # fault 7
    clock = ClockRule(100, back, 1000, ahead, patience)
    runner = StreamRunner(Watched(), Policy(wait_ns=5, lateness_ns=20, clock=clock))
    for at, stamp in enumerate(stamps):
        runner.push("imu" if at % 3 else "gnss", stamp, [1.0, 2.0, 3.0] if at % 3 else [1.0, 2.0])
    runner.flush()
    assert runner.counters.balanced() and runner.counters.total("waiting") == 0


def test_a_clock_set_back_resets_to_a_fresh_stream():  # fault 7
    first, second = packets(60, seed=1), moved(packets(60, seed=2), -10 * SECOND)
    policy = Policy(lateness_ns=20 * MS, clock=ClockRule(back_ns=SECOND, back="reset", patience=1))
    runner = StreamRunner(Leaky(), policy)
    found = run(runner, first, flush=False) + run(runner, second)
    fresh = run(StreamRunner(Leaky(), policy), first) + run(StreamRunner(Leaky(), policy), second)
    assert bare(found) == bare(fresh)
    assert [a.seq for a in found if a.settled] == list(range(len(first) + len(second)))


def test_one_wrong_stamp_does_no_harm():
    given = packets(100)
    for off in (-3600 * SECOND, 3600 * SECOND):
        policy = Policy(clock=ClockRule(SECOND, "reset", SECOND, "reset"))
        runner = StreamRunner(Leaky(), policy)
        came = [*given[:50], *moved(given[:1], off), *given[50:]]
        assert bare(run(runner, came)) == bare(run(StreamRunner(Leaky(), policy), given))
        assert runner.counters.total("rejected") == 1


def test_a_clock_set_back_can_be_clamped_or_refused():
    first, second = packets(60, seed=1), moved(packets(60, seed=2), -10 * SECOND)
    for back in ("clamp", "reject"):
        engine = Watched()
        runner = StreamRunner(engine, Policy(clock=ClockRule(back_ns=SECOND, back=back, patience=1)))
        answers = run(runner, first + second)
        stamps = [a.stamp_ns for a in answers if a.settled]
        if back == "reject":
            assert runner.counters.total("rejected", cause="clock back") == len(second)
            assert stamps == [p.stamp_ns for p in first]
        else:
            assert stamps == [p.stamp_ns for p in first + second]
            assert sum(engine.elapsed) < SECOND and runner.counters.total("used") == len(first + second)


def test_limits_of_jumps_are_themselves_no_jumps():
    runner = StreamRunner(Leaky({"imu": 3}), Policy(lateness_ns=50, clock=ClockRule(100, "reset", 100, "reset", 1)))
    for stamp in (1000, 1100, 1000, 1200):
        runner.push("imu", stamp, [1, 2, 3])
    counters = runner.counters
    assert counters.total("used") == 3 and counters.total("late", cause="lateness") == 1
    runner.push("imu", 1301, [1, 2, 3])  # a jump: afresh
    runner.push("imu", 1251, [1, 2, 3])
    assert counters.total("used") == 5 and runner.lines[0].newest == 1301 and runner.lines[0].mark.begun == 1251
    runner.push("imu", 1200, [1, 2, 3])  # and one back
    assert runner.lines[0].newest == 1200


def test_what_comes_for_a_time_that_was_flushed_is_late_and_what_comes_after_is_not():
    runner = StreamRunner(Leaky(), Policy(slop_ns=5, lateness_ns=10))
    runner.push("imu", 100, [1, 2, 3])
    assert [a.settled for a in runner.flush()] == [True] and runner.flush() == []
    runner.push("gnss", 105, [1, 2])
    runner.push("gnss", 106, [1, 2])
    assert runner.counters.total("late") == 1 and runner.counters.total("waiting") == 1


@pytest.mark.parametrize("ahead", ["clamp", "reset", "reject"])
def test_an_hour_without_packets(ahead):  # fault 8
    first, second = packets(60, seed=1), moved(packets(60, seed=2), 3600 * SECOND)
    engine = Watched()
    policy = Policy(clock=ClockRule(ahead_ns=SECOND, ahead=ahead, patience=2))
    runner = StreamRunner(engine, policy)
    answers = run(runner, first + second)
    assert all(np.isfinite(a.outputs["level"]).all() for a in answers)
    assert runner.counters.total("rejected", cause="clock ahead") == (len(second) if ahead == "reject" else 1)
    assert max(engine.elapsed) <= SECOND
    if ahead == "clamp":
        assert max(engine.elapsed) == SECOND
    if ahead == "reset":
        assert bare(answers)[len(first) :] == bare(run(StreamRunner(Leaky(), policy), second[1:]))


def test_an_hour_is_told_as_it_is_where_no_rule_stands():
    engine = Watched({"imu": 3})
    runner = StreamRunner(engine)
    runner.push("imu", 0, [1, 2, 3])
    (answer,) = runner.push("imu", 3600 * SECOND, [1, 2, 3])
    assert engine.elapsed == [0, 3600 * SECOND] and np.isfinite(answer.outputs["level"]).all()


def drifting(seconds, jitter, seed=9, offset=50 * MS, drift=100e-6):
    """Two sensors that measure together at 5 Hz; the second one's clock is ahead and drifts, both jitter."""
    random, base = np.random.default_rng(seed), 200 * MS * np.arange(seconds * 5)
    left = base + random.integers(0, jitter + 1, len(base))
    right = base + offset + (base * drift).astype(np.int64) + random.integers(0, jitter + 1, len(base))
    found = [Packet("imu", int(s), np.float32([1, 2, 3])) for s in left]
    found += [Packet("gnss", int(s), np.float32([1, 2])) for s in right]
    # In the order of arrival: each in its time, whatever its stamp says.
    arrival = np.concatenate([left, right - offset - (base * drift).astype(np.int64)])
    return [found[at] for at in np.argsort(arrival, kind="stable")], offset + drift * base[-1]


def paired(given, policy):
    """Share of moments that hold both sensors, and the runner."""
    runner = StreamRunner(Leaky({"imu": 3, "gnss": 2}), policy)
    answers = [a for a in run(runner, given) if a.settled]
    assert runner.counters.total("used") == len(given) and runner.counters.balanced()
    return sum(len(a.streams) == 2 for a in answers) / (len(given) / 2), runner


@pytest.mark.parametrize("jitter", [MS, 5 * MS])
def test_sensors_whose_clocks_drift_are_paired_within_twice_the_jitter(jitter):  # fault 9: 60 s, 100 ppm, 50 ms
    given, truth = drifting(60, jitter)
    policy = Policy(slop_ns=2 * jitter, wait_ns=100 * MS, lateness_ns=50 * MS, offsets_ns={"gnss": 50 * MS})
    share, runner = paired(shuffled(given, 20 * MS), policy)
    assert share >= 0.99
    assert runner.offsets() == {"imu": 0, "gnss": pytest.approx(truth, abs=2 * MS)}


def test_an_offset_that_nobody_told_is_found_with_a_slop_as_wide():  # fault 9
    given, truth = drifting(60, MS)
    share, runner = paired(given, Policy(slop_ns=60 * MS, lateness_ns=100 * MS))
    assert share >= 0.99 and runner.offsets()["gnss"] == pytest.approx(truth, abs=2 * MS)
    assert paired(given, Policy(slop_ns=2 * MS, lateness_ns=100 * MS))[0] == 0  # as it would be without


@pytest.mark.slow
def test_a_clock_is_followed_for_an_hour():
    given, truth = drifting(3600, MS)  # 0.41 s apart in the end, two periods
    policy = Policy(slop_ns=2 * MS, lateness_ns=50 * MS, offsets_ns={"gnss": 50 * MS}, provisional=False)
    share, runner = paired(given, policy)
    assert share >= 0.99 and runner.offsets()["gnss"] == pytest.approx(truth, abs=2 * MS)


def test_a_followed_clock_is_as_good_to_the_bit_after_resuming_and_knows_doubles():
    given, _ = drifting(60, MS)
    policy = Policy(slop_ns=2 * MS, lateness_ns=500 * MS, offsets_ns={"gnss": 49 * MS})
    unbroken = StreamRunner(Leaky({"imu": 3, "gnss": 2}), policy)
    right, runner, answers = settled(run(unbroken, given)), None, []
    for at, packet in enumerate(given):
        if at % 50 == 0:
            again = StreamRunner(Leaky({"imu": 3, "gnss": 2}), policy)
            if runner is not None:
                again.load_state(runner.state())
            runner = again
        answers += runner.push(*packet)
        if at % 7 == 3:
            answers += runner.push(*given[at - 1])
    assert settled(answers + runner.flush()) == right
    assert runner.counters.total("duplicate") == len(range(3, len(given), 7))
    with pytest.raises(ValueError, match=r"offsets for \['radar'\]"):
        StreamRunner(Leaky(), Policy(offsets_ns={"radar": 5}))


def test_a_silent_sensor_stops_nothing_and_is_named():  # fault 10
    policy = Policy(lateness_ns=20 * MS, gates={"gnss": Gate(timeout_ns=200 * MS), "imu": Gate(timeout_ns=200 * MS)})
    for gone in ("gnss", "imu"):
        given = [p for p in packets(300) if p.stream != gone or p.stamp_ns < 300 * MS]
        answers = run(StreamRunner(Leaky(), policy), given)
        done = [a for a in answers if a.settled]
        assert len(done) == len(given)
        last = max(p.stamp_ns for p in given if p.stream == gone)
        assert all((gone in a.silent) == (a.stamp_ns > last + 200 * MS) for a in done)
        assert done[-1].silent == (gone,)
        told = {}
        for a in answers:
            told.setdefault(a.stamp_ns, len(told))
        assert len(told) == len(given)  # answered with its own packet, whoever is silent
    never = run(StreamRunner(Leaky(), policy), [p for p in packets(100) if p.stream == "imu"])
    assert "gnss" in never[-1].silent and "gnss" not in never[0].silent


def test_the_rate_may_change():  # fault 11
    fast, slow = packets(400), moved(packets(400, imu_ns=10 * MS), 2 * SECOND)
    runner = StreamRunner(Leaky(), Policy(lateness_ns=30 * MS, queue_size=100))
    answers = run(runner, fast, flush=False)
    assert runner.periods()["imu"] == pytest.approx(5 * MS, rel=0.1)
    held = runner.lines[0].held
    answers += run(runner, slow, flush=False)
    assert runner.periods()["imu"] == pytest.approx(10 * MS, rel=0.1)
    assert runner.lines[0].held <= held and all(np.isfinite(a.outputs["level"]).all() for a in answers)


@pytest.mark.parametrize("settings", [{"lateness_ns": 10**18}, {"wait_ns": 10**18}])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_full_queue_settles_the_oldest_early(settings, rows):  # fault 13
    runner = StreamRunner(Leaky({"imu": 3}), Policy(queue_size=20, **settings), rows=rows)
    answers = [a for at in range(200) for row in range(rows) for a in runner.push("imu", 10 * at, [1, 2, 3], row)]
    room = 20 if rows == 1 else 20 + 7  # of many robots every eighth state is kept: what is before it stays until then
    assert all(len(line.pending) + len(line.done) <= line.held <= room for line in runner.lines)
    runner.push("imu", 5, [1, 2, 3])
    assert runner.counters.total("late", cause="queue") == 1 and runner.counters.balanced()
    horizon = runner.lines[0].horizon
    runner.push("imu", horizon - 1, [1, 2, 3])
    assert runner.counters.total("late") == 2
    if "lateness_ns" in settings:  # what was settled last is still known
        runner.push("imu", horizon, [1, 2, 3])
        assert horizon % 10 == 0 and runner.counters.total("duplicate") == 1
    done = [a.seq for a in answers + runner.flush() if a.settled and a.row == 0]
    assert done == list(range(200))


def test_moments_without_packets_take_room_too():
    policy = Policy(queue_size=20, lateness_ns=10**6, tick_ns=10, clock=ClockRule(ahead_ns=10**6))
    runner = StreamRunner(Leaky(), policy)
    runner.push("imu", 0, [1, 2, 3])
    answers = [a for at in (*range(10, 1000, 10), 2000) for a in runner.advance(at)]  # one by one, and many at once
    assert runner.lines[0].held == len(runner.lines[0].done) == 20
    assert [a.seq for a in answers + runner.flush() if a.settled] == list(range(201))


def growth(count, level, **settings):
    """What a stream grows by over packets in an odd order, with doubles and late ones, that nobody drains."""
    runner = StreamRunner(Leaky(), Policy(queue_size=50, **settings))
    random = np.random.default_rng(13)
    values = {"imu": np.float32([1, 2, 3]), "gnss": np.float32([1, 2])}
    start = 0
    for at in range(count):
        if at == count // 10:
            start = level()
        name = "gnss" if at % 10 == 0 else "imu"
        runner.push(name, at * MS - int(random.integers(0, 40)) * MS, values[name], 0, at)
        assert runner.lines[0].held <= 50
    assert runner.counters.balanced() and runner.counters.total("late") > count / 10
    return level() - start


def test_memory_stays_flat():
    tracemalloc.start()
    try:
        for settings in ({"lateness_ns": 20 * MS}, {"wait_ns": 20 * MS}):
            assert growth(300, lambda: tracemalloc.get_traced_memory()[0], **settings) < 50_000
    finally:
        tracemalloc.stop()


def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_stays_flat_over_a_million_packets():
    assert growth(1_000_000, resident, lateness_ns=20 * MS) < 1_000_000


def test_a_second_writer_is_refused_and_nothing_is_spoilt():  # fault 17
    given = packets(300)
    runner, errors = StreamRunner(Leaky(), Policy(lateness_ns=20 * MS)), []

    def intrude():
        for packet in given:
            try:
                runner.push(*packet)
            except WriterError as error:
                errors.append(str(error))

    runner.push(*given[0])
    threads = [threading.Thread(target=intrude) for _ in range(3)]
    for thread in threads:
        thread.start()
    answers = [a for packet in given for a in runner.push(*packet)]
    for thread in threads:
        thread.join()
    assert len(errors) == 3 * len(given) and "release()" in errors[0]
    assert runner.counters.offset == len(given) + 1
    found = settled(answers + runner.flush())
    assert found == settled(run(StreamRunner(Leaky(), Policy(lateness_ns=20 * MS)), given))
    runner.release()
    heir = threading.Thread(target=lambda: errors.append(len(runner.push("imu", SECOND * 9, [1, 2, 3]))))
    heir.start()
    heir.join()
    assert errors[-1] == 1


def test_a_second_thread_may_not_even_let_time_pass():
    runner, errors = StreamRunner(Leaky()), []
    runner.push("imu", 0, [1, 2, 3])
    snapshot = runner.state()
    calls = [
        lambda: runner.advance(5),
        runner.flush,
        runner.reset,
        runner.drain_late,
        runner.state,
        lambda: runner.load_state(snapshot),
        runner.release,
    ]

    def intrude():
        for call in calls:
            try:
                call()
            except WriterError:
                errors.append(call)

    thread = threading.Thread(target=intrude)
    thread.start()
    thread.join()
    assert errors == calls


def test_ticks_are_answered_when_a_packet_behind_them_comes():
    policy = Policy(tick_ns=10, clock=ClockRule(ahead_ns=1000))
    runner = StreamRunner(Leaky(), policy)
    assert [a.stamp_ns for a in runner.push("imu", 4, [1, 2, 3])] == [4]
    assert [a.stamp_ns for a in runner.push("imu", 10, [1, 2, 3]) if not a.settled] == []
    assert [(a.stamp_ns, a.streams) for a in runner.push("imu", 25, [1, 2, 3]) if not a.settled] == [(25, ("imu",))]
    assert [a.stamp_ns for a in runner.advance(41) if a.settled] == [25, 30, 40]


def test_ticks_within_a_pause_that_is_just_not_too_long_are_answered():
    for pause, ticks in ((40, [20, 30, 40, 50]), (41, [])):
        runner = StreamRunner(Leaky(), Policy(tick_ns=10, clock=ClockRule(ahead_ns=40, patience=1)))
        runner.push("imu", 10, [1, 2, 3])
        runner.push("imu", 12, [1, 2, 3])
        answers = runner.push("imu", 12 + pause, [1, 2, 3]) + runner.flush()
        assert [a.stamp_ns for a in answers if a.settled and a.stamp_ns % 10 == 0] == ticks


def test_ticks_within_too_long_a_pause_are_left_out():
    runner = StreamRunner(Leaky(), Policy(tick_ns=10, clock=ClockRule(ahead_ns=100, patience=1)))
    runner.push("imu", 4, [1, 2, 3])
    answers = runner.push("imu", 10**12 + 5, [1, 2, 3]) + runner.advance(2 * 10**12)
    assert len(answers) < 10 and answers[-1].stamp_ns == 2 * 10**12 - 10
    assert [a.stamp_ns for a in runner.advance(3 * 10**12 + 1)] == [3 * 10**12]


def test_a_model_that_looks_ahead_answers_with_its_lag():
    values = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    given = [Packet("imu", 5 * at, values[at]) for at in range(20)]
    offline = [(np.concatenate([[0], values[:, 0]])[at : at + 3].sum() / 3) for at in range(19)]
    for policy in (Policy(), Policy(lateness_ns=40)):
        answers = run(StreamRunner(Lookback({"imu": 3}), policy), shuffled(given, policy.lateness_ns))
        done = [a for a in answers if a.settled]
        assert [(a.stamp_ns, a.seq) for a in done] == [(5 * at, at) for at in range(19)]
        np.testing.assert_allclose([float(a.outputs["mean"][0]) for a in done], offline, atol=1e-6)
