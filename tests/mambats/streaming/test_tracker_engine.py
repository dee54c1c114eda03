"""A tracker behind a stream: the numbers of `mambats track`, whatever way its frames come."""

import numpy as np
import pytest
import torch

from mambats.streaming import ClockRule, Policy, StreamRunner
from mambats.streaming.engines.frame import pack_frame, unpack_frame, width_of
from mambats.streaming.engines.tracker import TrackerEngine
from mambats.track import ByExistence, Deleter
from mambats.track.learned import CalibratedTracker
from mambats.track.telling import tell
from tests.mambats.streaming.toy import MS, shuffled
from tests.mambats.track.learned.test_tracker import wild
from tests.mambats.track.worlds import straight, tracker

MOST, PERIOD = 8, 100 * MS
LATE = Policy(lateness_ns=300 * MS, provisional=False)


def world(bodies=3, frames=24):
    """Detections with holes, rounded to float32 as packets are, and the packets."""
    objects = straight(bodies, frames)[0]
    random = torch.Generator().manual_seed(1)
    objects = objects.take(torch.rand(len(objects.boxes), generator=random) < 0.85)
    boxes = objects.boxes.float().double()
    objects = type(objects)(**{**vars(objects), "boxes": boxes})
    return objects, packets(objects)


def packets(objects, most=MOST):
    ends = objects.splits.tolist()
    boxes, score = objects.boxes.numpy(), objects.score.numpy()
    return [
        ("detections", int(stamp), pack_frame(boxes[a:b], score[a:b], most))
        for stamp, a, b in zip(objects.stamps, ends, ends[1:], strict=False)
    ]


class Given(tuple):
    """A packet as `shuffled` sorts it."""

    stamp_ns = property(lambda self: self[1])


def answers(runner, given):
    return [a for packet in given for a in runner.push(*packet)] + runner.flush()


def numbers(found):
    return [{name: np.asarray(array) for name, array in one.outputs.items()} for one in found]


def same(one, other):
    assert len(one) == len(other) > 0
    for a, b in zip(numbers(one), numbers(other), strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)


def learned():
    """A tracker that remembers more of each track: its state is of the same arrays and more."""
    return CalibratedTracker(tracker(20.0), wild(), "Car")


# The detector works out a batch's noise in one call, whose last digits depend on its size; the model is of float32.
@pytest.mark.parametrize(("make", "within"), [(tracker, 1e-12), (learned, 1e-6)])
def test_pushed_frames_are_the_batch_run(make, within):
    objects, given = world()
    made = make()
    told = tell(made.run(objects), objects, "online")
    found = answers(StreamRunner(TrackerEngine(made, MOST, 8), LATE), given)
    assert [a.stamp_ns for a in found] == objects.stamps.tolist()
    assert sum(int(a.outputs["count"]) for a in found) == len(told.boxes) > 40
    for frame, answer in enumerate(found):
        rows, out = slice(*told.splits[frame : frame + 2].tolist()), answer.outputs
        count = int(out["count"])
        for name, wanted in (
            ("identity", told.identity), ("box", told.boxes), ("velocity", told.velocity),
            ("covariance", told.covariance), ("score", told.score),
        ):  # fmt: skip
            assert np.abs(out[name][:count] - wanted[rows].numpy()).max(initial=0) <= within * wanted.abs().max(), name
        assert (out["identity"][count:] == -1).all() and out["refused"] == 0


@pytest.mark.parametrize("make", [tracker, learned])
def test_late_doubled_and_resumed_frames_change_nothing(make):
    _, given = world()
    engine = TrackerEngine(make(), MOST, 8)
    clean = answers(StreamRunner(engine, LATE), given)
    dirty = shuffled([Given(p) for p in [*given, *given[::10]]], 250 * MS)
    first = StreamRunner(engine, LATE)
    found = [a for packet in dirty[:17] for a in first.push(*packet)]
    second = StreamRunner(engine, LATE)
    second.load_state(first.state())
    found += answers(second, dirty[17:])
    same(found, clean)
    table = second.counters.table()
    assert table["duplicate"] == 3 and table["used"] == len(given) and second.counters.balanced()


def test_sensors_side_by_side_are_each_alone():
    engine = TrackerEngine(tracker(), MOST, 8)
    parts = [world(bodies)[1] for bodies in (2, 3)]
    alone = [answers(StreamRunner(engine, LATE), given) for given in parts]
    both = StreamRunner(engine, LATE, rows=2)
    found = [a for pair in zip(*parts, strict=True) for row, p in enumerate(pair) for a in both.push(*p, row)]
    found += both.flush()
    for row in (0, 1):
        same([a for a in found if a.row == row], alone[row])


def test_a_lost_frame_is_carried_over_at_its_tick():
    _, given = world()
    engine = TrackerEngine(tracker(confirmer=ByExistence(2.0, misses=0)), MOST, 8, tick_ns=PERIOD)
    policy = Policy(provisional=False, tick_ns=PERIOD, clock=ClockRule(ahead_ns=60 * 10**9))
    whole = answers(StreamRunner(engine, policy), given)
    lossy = answers(StreamRunner(engine, policy), [p for k, p in enumerate(given) if k not in (20, 21)])
    assert [a.stamp_ns for a in lossy] == [a.stamp_ns for a in whole]
    same(lossy[:20], whole[:20])
    last, gap = lossy[19].outputs, lossy[20].outputs
    count = int(gap["count"])
    assert count == int(last["count"]) > 0
    assert np.array_equal(gap["identity"], last["identity"]) and (gap["detection"] == -1).all()
    moved = last["box"][:count, :3] + 0.1 * last["velocity"][:count]
    assert np.abs(gap["box"][:count, :3] - moved).max() < 1e-9
    assert gap["silent"][:count] - last["silent"][:count] == pytest.approx(np.full(count, 0.1))
    spread = [np.trace(out["covariance"][0]) for out in (last, gap, lossy[21].outputs)]
    assert spread[0] < spread[1] < spread[2]


def test_what_finds_no_room_is_counted_and_the_likeliest_stay():
    _, given = world(bodies=6)
    small = answers(StreamRunner(TrackerEngine(tracker(), MOST, 4), LATE), given)
    out = small[-1].outputs
    assert out["refused"] > 0 and all(a.outputs["count"] <= 4 for a in small)
    cut = pack_frame(np.ones((5, 7)), np.array([1.0, 5, 2, 4, 3]), 3)
    assert cut[0] == 5 and cut[1:].reshape(3, 8)[:, 7].tolist() == [5, 4, 3]
    frame = unpack_frame(cut, np.ones(len(cut), bool))
    assert frame.refused == 2 and frame.row.tolist() == [0, 1, 2]


def test_a_broken_row_is_left_out_and_a_broken_frame_changes_nothing():
    _, given = world()
    engine = TrackerEngine(tracker(), MOST, 8)
    clean = answers(StreamRunner(engine, LATE), given)
    stream, stamp, values = given[10]
    broken = values.copy()
    count = int(broken[0])
    broken[0] += 3
    broken[1 + 8 * count : 9 + 8 * count] = [1, 1, 1, -4, 2, 1, 0, 3]  # a negative length
    broken[9 + 8 * count] = np.nan
    broken[17 + 8 * count : 25 + 8 * count] = [1, 1, 1, 4, 2, 1, 0, np.nan]  # no score where others have one
    found = answers(StreamRunner(engine, LATE), [*given[:10], (stream, stamp, broken), *given[11:]])
    assert found[-1].outputs["refused"] == 3
    for a, b in zip(found, clean, strict=True):
        assert np.array_equal(a.outputs["box"], b.outputs["box"])
    for number in (np.nan, -1.0, 1e30):
        lost = values.copy()
        lost[0] = number
        runner = StreamRunner(engine, LATE)
        found = answers(runner, [*given[:10], (stream, stamp, lost), *given[11:]])
        assert found[10].outputs["count"] == found[9].outputs["count"] and runner.counters.balanced()
        assert (found[10].outputs["detection"] == -1).all()


def test_frames_without_scores_and_empty_frames():
    frame = unpack_frame(pack_frame(np.ones((2, 7)), None, 3), np.array([True] + ([True] * 7 + [False]) * 3))
    assert frame.score is None and frame.boxes.shape == (2, 7) and frame.refused == 0
    runner = StreamRunner(TrackerEngine(tracker(deleter=Deleter(silence=1.0)), MOST, 8))
    for at in range(3):
        out = runner.push("detections", at * PERIOD, pack_frame(np.zeros((0, 7)), None, MOST))[-1].outputs
        assert out["count"] == 0 and out["refused"] == 0


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="room 0"):
        TrackerEngine(tracker(), MOST, 0)
    with pytest.raises(ValueError, match="need \\(D, 7\\)"):
        pack_frame(np.ones((2, 6)), None, 3)
    assert width_of(3) == 25
    one, other = (TrackerEngine(tracker(surprise=s), MOST, 8).identity for s in (None, 20.0))
    assert one != other == TrackerEngine(tracker(surprise=20.0), MOST, 8).identity
