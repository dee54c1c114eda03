"""Frames that arrive late: go back to the state before them and follow on from there."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mambats.track.detector import Detections
from mambats.track.history import Frame
from mambats.track.tracker import Tracker, TrackerState

Verdict = Literal["in order", "late", "too late"]


class FrameArrival(NamedTuple):
    """What became of a frame.

    Args:
        verdict: `in order` if it was the newest, `late` if later ones were followed again after it, `too late` if it
            was left out.
        age_ns: How much older it is than the newest, nanoseconds; 0 in order.
        frames: What is known at it and at all later ones, in the order of time; none if it was left out. The later ones
            take the place of what was told of them before.
    """

    verdict: Verdict
    age_ns: int
    frames: list[Frame]


class _Taken(NamedTuple):
    frame: Frame
    detections: Detections
    state: TrackerState


class LateFrames:
    """A tracker that takes frames in any order, as if they had come in the order of time.

    States after all frames of the last `horizon_ns` are kept. A late frame is put in its place: the state before it is
    taken up again, and it and all later frames are followed. So in whatever order they come, as long as none is older
    than the horizon, tracks and their identities are those of the sorted frames, to the bit; an identity that was told
    of may therefore change, from a late frame on. An older one is left out and counted.

    Args:
        tracker: Whose steps.
        horizon_ns: Of how far back frames are taken, nanoseconds, counted from the newest.

    Raises:
        ValueError: If the horizon is negative.

    Example:
        late = LateFrames(tracker, 500_000_000)
        detections, _ = tracker.detector(objects)
        arrival = late.push(stamp, detections)

    On a sensor whose way was told, take `path.doubted(tracker)`: its detector knows frames, one or more of them, by
    their stamps. The way itself is told in order: a step whose frame comes late is not told anew.

    Source: as of `mambats.estimators.LateBuffer`: going back costs a replay and is exact for any model.
    """

    def __init__(self, tracker: Tracker, horizon_ns: int) -> None:
        if horizon_ns < 0:
            raise ValueError(f"horizon_ns is {horizon_ns}: need 0 (nothing may be late) or more nanoseconds.")
        self.tracker, self.horizon_ns = tracker, horizon_ns
        self._base, self._taken = tracker.init_state(), list[_Taken]()
        #: How many frames had each verdict.
        self.counts = Counter[Verdict]()

    @property
    def state(self) -> TrackerState:
        """After the newest frame."""
        return self._taken[-1].state if self._taken else self._base

    @property
    def frames(self) -> list[Frame]:
        """What is known at all frames that are kept, in the order of time."""
        return [one.frame for one in self._taken]

    @torch.no_grad()
    def push(self, stamp: int, detections: Detections, pose: Tensor | None = None) -> FrameArrival:
        """Take a frame, in order or late; arguments are those of `Tracker.step`.

        Returns:
            What became of it; nothing changes if it came too late.

        Raises:
            ValueError: If there is a frame of this stamp already; nothing changes.
        """
        newest = self.state.stamp
        age = 0 if newest is None else max(0, newest - stamp)
        if age > self.horizon_ns:
            self.counts["too late"] += 1
            return FrameArrival("too late", age, [])
        place = bisect_right(self._taken, stamp, key=lambda one: one.frame.stamp)
        state = self._taken[place - 1].state if place else self._base
        if state.stamp == stamp:
            raise ValueError(f"there is a frame at {stamp} ns already: join what was seen at once before tracking.")
        later, made = self._taken[place:], list[_Taken]()
        for at, seen, where in (
            (stamp, detections, pose),
            *((o.frame.stamp, o.detections, o.frame.pose) for o in later),
        ):
            state, frame = self.tracker.step(state, at, seen, where)
            made.append(_Taken(frame, seen, state))
        self._taken[place:] = made
        self._forget()
        verdict: Verdict = "late" if later else "in order"
        self.counts[verdict] += 1
        return FrameArrival(verdict, age, [one.frame for one in made])

    def _forget(self) -> None:
        """Drop what is older than the horizon; the state after the last of it is where all begins."""
        oldest = self._taken[-1].frame.stamp - self.horizon_ns
        gone = bisect_right(self._taken, oldest - 1, key=lambda one: one.frame.stamp)
        if gone:
            self._base = self._taken[gone - 1].state
            del self._taken[:gone]
