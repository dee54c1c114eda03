"""Snapshots: what a killed, torn, foreign or full disk leaves behind; faults 14 to 16."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from mambats.streaming import (
    Gate,
    Policy,
    SnapshotBusyError,
    SnapshotDamagedError,
    SnapshotForeignError,
    SnapshotRing,
    SnapshotWriteError,
    StreamRunner,
)
from mambats.streaming.snapshots.file import decode, encode
from tests.mambats.streaming.toy import MS, Leaky, packets, run, settled, shuffled

POLICY = Policy(lateness_ns=30 * MS, gates={"imu": Gate(stuck=3, timeout_ns=40 * MS), "gnss": Gate(high=1.5)})
ROOT = Path(__file__).resolve().parents[3]


def stream(rows=1):
    return StreamRunner(Leaky(), POLICY, rows)


def middle(rows=1, count=60):
    """A stream in the middle of its work."""
    runner = stream(rows)
    run(runner, shuffled([p for row in range(rows) for p in packets(count, row=row)], 25 * MS), flush=False)
    return runner


@pytest.mark.parametrize("rows", [1, 3])
def test_a_stream_goes_on_from_a_snapshot_to_the_bit(rows):
    given = shuffled([p for row in range(rows) for p in packets(60, row=row)], 25 * MS)
    unbroken = run(stream(rows), given)
    runner, answers = stream(rows), []
    for at, packet in enumerate(given):
        answers += runner.push(*packet)
        if at % 7 == 0:
            snapshot = decode(encode(runner.state()), "here")
            assert snapshot.facts["counters"] == runner.counters.dump()
            runner = stream(rows)
            runner.load_state(snapshot)
            assert runner.counters.offset == at + 1
    answers += runner.flush()
    assert settled(answers) == settled(unbroken) and runner.counters.balanced()
    assert [a.silent for a in answers if a.settled] == [a.silent for a in unbroken if a.settled]


def test_the_newest_packet_is_known_after_resuming():
    runner, again = (StreamRunner(Leaky({"imu": 3})) for _ in range(2))
    runner.push("imu", 5, [1, 2, 3])
    again.load_state(decode(encode(runner.state()), "here"))
    again.push("imu", 5, [1, 2, 3])
    assert again.counters.total("duplicate") == 1 and again.lines[0].held == runner.lines[0].held == 0


def test_late_packets_survive_with_the_stream():
    given = packets(60)
    old = [p._replace(stamp_ns=p.stamp_ns - 1, values=p.values * 2, sequence=None) for p in given[:9]]
    old[3] = old[3]._replace(values=np.float32([np.nan, 7, 8])[: len(old[3].values)])
    runner, again = stream(), stream()
    run(runner, [*given, *old[:6]], flush=False)
    again.load_state(decode(encode(runner.state()), "here"))
    run(again, old[6:], flush=False)
    found = again.drain_late()
    assert [p[:2] + p[3:] for p in found] == [p[:2] + p[3:] for p in old] and again.drain_late() == []
    for one, other in zip(found, old, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    assert again.counters.total("late") == len(old) and again.counters.balanced()


def test_late_packets_that_nobody_drains_are_counted():
    runner = StreamRunner(Leaky(), Policy(queue_size=5))
    runner.push("imu", 100, [1, 2, 3])
    for at in range(8):
        runner.push("gnss", at, [1, 2])
    again = StreamRunner(Leaky(), Policy(queue_size=5))
    again.load_state(decode(encode(runner.state()), "here"))
    again.push("gnss", 50, [1, 2])
    assert [p.stamp_ns for p in again.drain_late()] == [4, 5, 6, 7, 50]
    assert again.counters.table()["streams"]["gnss"]["late, never handed out"] == 4 == again.counters.undrained["gnss"]


def test_the_file_is_plain_safetensors():
    runner = middle()
    tensors = load(encode(runner.state()))
    np.testing.assert_array_equal(tensors["state.x"], runner.lines[0].base.state.state["x"])


def flips(content, count, seed):
    """Contents with one bit changed."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(content)
        changed[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
        yield bytes(changed)


def refused(contents):
    """Check that every content is refused by the name of the cause."""
    count = 0
    for content in contents:
        with pytest.raises(SnapshotDamagedError, match="the file"):
            decode(content, "the file")
        count += 1
    return count


def test_flipped_and_torn_files_are_refused():  # fault 15
    content = encode(middle(count=20).state())
    assert refused(flips(content, 60, 15)) == 60
    refused(content[:at] for at in (*range(64), *range(64, len(content), 97)))
    refused([content + b"\0", b"", b"\xff" * 100, b"[" * 100_000])


@pytest.mark.slow
def test_300_flips_and_all_truncations_are_refused():
    content = encode(middle(count=20).state())
    assert refused(flips(content, 300, 16)) == 300
    assert refused(content[:at] for at in range(len(content))) == len(content)


def test_of_a_damaged_newest_the_one_before_is_taken(tmp_path):  # fault 15
    runner = middle()
    with SnapshotRing(tmp_path) as ring:
        files = [ring.save(runner.state()) for _ in range(5)]
        assert ring.files() == files[:1:-1]
        files[4].write_bytes(files[4].read_bytes()[:-5])
        other = StreamRunner(Leaky(seed=1), POLICY)
        files[3].write_bytes(encode(other.state()))
        fresh = stream()
        assert ring.restore(fresh) == files[2]
        assert [type(error) for error in ring.refused] == [SnapshotDamagedError, SnapshotForeignError]
        assert files[4].name in str(ring.refused[0]) and "another model" in str(ring.refused[1])
        assert fresh.counters.dump() == runner.counters.dump()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: StreamRunner(Leaky(seed=1), POLICY), "another model"),
        (lambda: StreamRunner(Leaky(), Policy()), "another policy"),
        (lambda: StreamRunner(Leaky(), POLICY, rows=2), "another number of robots"),
        (lambda: StreamRunner(Leaky(dtype=np.float64), POLICY), "state 'x'"),
    ],
)
def test_a_snapshot_of_another_stream_is_refused_and_changes_nothing(other, words):
    runner = other()
    before = runner.push("imu", 5, [1, 2, 3])
    with pytest.raises(SnapshotForeignError, match=words):
        runner.load_state(middle().state())
    assert runner.counters.offset == 1 and before[0].seq == 0 and runner.lines[0].newest == 5


def test_a_snapshot_of_another_version_is_refused_and_changes_nothing():
    snapshot, runner = middle().state(), stream()
    runner.push("imu", 5, [1, 2, 3])
    for facts in (
        {**snapshot.facts, "lines": [{**snapshot.facts["lines"][0], "base": [0, 0]}]},
        {**snapshot.facts, "held": [[0, 1, 2]]},
        {**snapshot.facts, "late": [[0, 1, 7, None, 0]]},
        {**snapshot.facts, "edge": [[1, 1, 0, None, 0]]},
        {"lines": []},
    ):
        with pytest.raises(SnapshotForeignError, match="another version"):
            runner.load_state(replace(snapshot, facts=facts))
    assert runner.counters.offset == 1 and runner.lines[0].newest == 5


def test_an_empty_folder_leaves_the_stream_as_it_is(tmp_path):
    with SnapshotRing(tmp_path / "new") as ring:
        assert ring.restore(stream()) is None and ring.refused == []
        with pytest.raises(SnapshotBusyError, match="another process"):
            SnapshotRing(tmp_path / "new")
    with pytest.raises(ValueError, match="2 or more"):
        SnapshotRing(tmp_path, keep=1)


def test_a_full_disk_leaves_the_old_file_and_the_stream(tmp_path):  # fault 16
    given = packets(200)
    runner, answers = stream(), run(stream(), given)
    found, failed, costs = [], 0, {True: [], False: []}
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with SnapshotRing(tmp_path) as ring:
        try:
            for at, packet in enumerate(given):
                begin = time.thread_time_ns()
                found += runner.push(*packet)
                costs[failed > 0].append(time.thread_time_ns() - begin)
                if at % 20 == 19:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (500 if at > 60 else old[0], old[1]))
                    try:
                        good = ring.save(runner.state())
                    except SnapshotWriteError as error:
                        failed += 1
                        assert "could not be written" in str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, handler)
        assert failed == 7 and ring.restore(stream()) == good and not ring.refused
        assert [path.name for path in tmp_path.glob(".*")] == []
    assert settled(found + runner.flush()) == settled(answers)
    assert np.median(costs[True]) <= 2 * np.median(costs[False])  # a push costs what it did


HOLD = """
import sys
from mambats.streaming import SnapshotRing
with SnapshotRing(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_may_not_write_and_a_killed_one_holds_nothing(tmp_path):  # fault 17
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], env=where, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(SnapshotBusyError, match="another process"):
            SnapshotRing(tmp_path)
        other.kill()
    SnapshotRing(tmp_path).close()


WORK = """
import json, sys
from pathlib import Path
from mambats.streaming import SnapshotRing
from tests.mambats.streaming.test_snapshot import stream
from tests.mambats.streaming.toy import MS, packets, shuffled

folder, count = Path(sys.argv[1]), int(sys.argv[2])
given = shuffled(packets(count), 25 * MS)
with SnapshotRing(folder / "ring") as ring, (folder / "answers").open("a+b") as sink:
    sink.seek(0)
    whole = b"".join(line for line in sink if line.endswith(b"\\n"))  # a line cut short by the kill is written again
    sink.truncate(len(whole))
    last = json.loads(whole.splitlines()[-1])[0] if whole else -1
    runner = stream()
    ring.restore(runner)
    print("ready", flush=True)

    def write(answers):
        for a in answers:
            if a.settled and a.seq > last:
                sink.write(json.dumps([a.seq, a.stamp_ns, *map(float, a.outputs["level"])]).encode() + b"\\n")
        sink.flush()

    for at in range(runner.counters.offset, len(given)):
        write(runner.push(*given[at]))
        if at % 5 == 0:
            ring.save(runner.state())
    write(runner.flush())
    print("done", flush=True)
"""


def killed(folder, kills, count, seed):
    """Run to the end in processes that are killed at random moments; return what the sink holds and the kills."""
    random, killed = np.random.default_rng(seed), 0
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels"), str(ROOT / "datasets")])}
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, str(folder), str(count)], cwd=ROOT, env=where, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        if killed < kills:
            time.sleep(float(random.uniform(0, 0.1)))
            if process.poll() is None:
                killed += 1
            process.send_signal(signal.SIGKILL)
        said = process.stdout.read()
        assert process.wait() in (0, -signal.SIGKILL)
        process.stdout.close()
        if b"done" in said:
            return [json.loads(line) for line in (folder / "answers").read_bytes().splitlines()], killed


def resumed(folder, kills, count, seed):
    """Hold what killed processes wrote to an unbroken run."""
    unbroken = [
        [a.seq, a.stamp_ns, *map(float, a.outputs["level"])]
        for a in run(stream(), shuffled(packets(count), 25 * MS))
        if a.settled
    ]
    found, happened = killed(folder, kills, count, seed)
    assert found == unbroken and [row[0] for row in found] == list(range(len(unbroken)))
    return happened


def test_a_killed_process_resumes_without_gap_or_double(tmp_path):  # fault 14
    assert resumed(tmp_path, 2, 200, 14) >= 1


@pytest.mark.slow
def test_100_kills_leave_no_trace(tmp_path):
    kills = runs = 0
    while kills < 100:
        folder = tmp_path / str(runs)
        folder.mkdir()
        kills += resumed(folder, 10, 1500, runs)
        runs += 1
    assert runs < 20, "most processes ended before they were killed"
