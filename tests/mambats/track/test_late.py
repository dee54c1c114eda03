"""Frames that come late end where sorted ones do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.track.late import LateFrames
from mambats.track.tracks import Tracks
from tests.mambats.track.test_batch import crowd, trackers

MADE, FRAMES = trackers()[0], 14
SEEN = crowd(3, FRAMES)
PARTS = [MADE.detector(SEEN)[0].take(slice(*SEEN.splits[f : f + 2].tolist())) for f in range(FRAMES)]
SORTED = MADE.run(SEEN).frames


def equal(one: Tracks, other: Tracks) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0, 0.4), min_size=FRAMES, max_size=FRAMES))
def test_shuffled_within_the_horizon_is_in_order(delays: list[float]) -> None:
    stamps = SEEN.stamps.tolist()
    arrivals = sorted(range(FRAMES), key=lambda f: stamps[f] / 1e9 + delays[f])
    late, last = LateFrames(MADE, 400_000_000), {}
    for f in arrivals:
        made = late.push(stamps[f], PARTS[f])
        assert made.verdict == ("in order" if len(made.frames) == 1 else "late")
        assert [one.stamp for one in made.frames] == sorted(one.stamp for one in made.frames)
        last |= {one.stamp: one for one in made.frames}
    assert late.counts["too late"] == 0 and sum(late.counts.values()) == FRAMES
    assert all(equal(last[one.stamp].tracks, one.tracks) for one in SORTED)
    assert late.state.identity > 0 and equal(late.state.tracks, SORTED[-1].tracks)
    assert all(one.stamp >= stamps[-1] - 400_000_000 for one in late.frames)


def test_later_than_the_horizon_is_refused_and_counted() -> None:
    stamps = SEEN.stamps.tolist()
    late = LateFrames(MADE, 200_000_000)
    for f in (0, 1, 2, 8):
        late.push(stamps[f], PARTS[f])
    before = late.state
    made = late.push(stamps[3], PARTS[3])
    assert made.verdict == "too late" and made.frames == [] and made.age_ns == stamps[8] - stamps[3]
    assert late.state is before and late.counts == {"in order": 4, "too late": 1}
    with pytest.raises(ValueError, match="a frame at"):
        late.push(stamps[8], PARTS[8])
    assert late.state is before
    with pytest.raises(ValueError, match="horizon_ns is -1"):
        LateFrames(MADE, -1)


def test_a_first_frame_may_come_second() -> None:
    late = LateFrames(MADE, 10**9)
    for f in (1, 0, 2):
        late.push(SEEN.stamps[f].item(), PARTS[f])
    assert equal(late.state.tracks, SORTED[2].tracks) and [one.stamp for one in late.frames] == SEEN.stamps[:3].tolist()
