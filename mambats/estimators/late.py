"""Measurements that arrive late: go back to the state before them and run on from there."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from mambats.protocols import Estimator, Event, FusionEncoder, Innovation, State

Verdict = Literal["in order", "late", "too late"]


class Arrival(NamedTuple):
    """What became of a measurement.

    Args:
        verdict: `in order` if it was the newest, `late` if later ones were run again after it, `too late` if it was
            left out: older than the horizon, or than the start.
        age_ns: How much older it is than the newest measurement, nanoseconds; 0 in order.
        replayed: How many measurements were run again.
        told: What the model said of it: an `Innovation`, or tokens (B, width) of a fusion encoder; None if left out.
    """

    verdict: Verdict
    age_ns: int
    replayed: int
    told: Innovation | Tensor | None


@dataclass(frozen=True)
class _Taken:
    """A measurement and the state after it."""

    stamp: int
    rank: int
    event: Event
    noise: Tensor | None
    state: State


class LateBuffer:
    """A filter or a fusion encoder that takes measurements in any order, as if they had come in the order of time.

    The states after all measurements of the last `horizon_ns` are kept. A late measurement is put in its place: the
    state before it is taken up again, and it and all later measurements are run. So whatever order they come in, as
    long as none is older than the horizon, the state is that of the sorted ones, to the bit. An older one is left out
    and reported. Measurements with the same stamp go in the order of the model's streams, of the same stream in the
    order they came.

    All series of a batch have one clock; `mask` says which of them measured.

    Args:
        model: An `Estimator`, or a causal `FusionEncoder`.
        horizon_ns: Of how far back measurements are taken, nanoseconds, counted from the newest.
        batch: Series, B.
        state: To begin with; None for the model's own start.
        start_ns: When that state is. None: at the first measurement by stamp, whichever comes first.

    Raises:
        ValueError: If the horizon is negative or the encoder not causal.

    Source: the problem is that of Bar-Shalom, Update with Out-of-Sequence Measurements in Tracking: Exact Solution,
        IEEE Transactions on Aerospace and Electronic Systems 38, 2002, who updates without going back; going back
        costs a replay and is exact for any model.
    """

    def __init__(
        self,
        model: Estimator | FusionEncoder,
        horizon_ns: int,
        batch: int = 1,
        state: State | None = None,
        start_ns: int | None = None,
    ) -> None:
        if horizon_ns < 0:
            raise ValueError(f"horizon_ns is {horizon_ns}: need 0 (nothing may be late) or more nanoseconds.")
        if isinstance(model, FusionEncoder) and not model.causal:
            raise ValueError("the encoder is not causal: it has no state to go back to. Give one that has.")
        self.model, self.horizon_ns, self.batch, self.start_ns = model, horizon_ns, batch, start_ns
        self._ranks = {name: rank for rank, name in enumerate(model.streams)}
        self._base = model.init_state(batch) if state is None else state
        self._base_ns = start_ns
        self._taken: list[_Taken] = []
        self._newest: int | None = start_ns
        #: How many measurements had each verdict, by stream.
        self.counts: dict[str, Counter[Verdict]] = {name: Counter() for name in model.streams}

    @property
    def state(self) -> State:
        """After the newest measurement."""
        return self._taken[-1].state if self._taken else self._base

    @property
    def stamp_ns(self) -> int | None:
        """Of the newest measurement; the start before any, None if that is open."""
        return self._newest

    def __len__(self) -> int:
        """Return how many measurements are kept."""
        return len(self._taken)

    def push(
        self,
        stream: str,
        stamp_ns: int,
        value: Tensor,
        *,
        noise: Tensor | None = None,
        mask: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> Arrival:
        """Take a measurement, in order or late.

        Args:
            stream: Which sensor.
            stamp_ns: When it measured, nanoseconds.
            value: Shape (B, m) of an estimator, (B, C) of an encoder.
            noise: Covariance of its error, shape (B, m, m), for an estimator; None takes the model's.
            mask: Rows that measured, shape (B,) bool.
            observed: Which values were measured, shape of value; where not, an estimator takes them as not measured.

        Returns:
            What became of it; nothing changes if it came too late.

        Raises:
            ValueError: If the stream is not known, `noise` is given to an encoder, or the model refuses the values; the
                buffer stays as it was.
        """
        if stream not in self._ranks:
            raise ValueError(f"stream {stream!r} is not known, there are {', '.join(self._ranks)}: name one of them.")
        if noise is not None and isinstance(self.model, FusionEncoder):
            raise ValueError("noise is given, and a fusion encoder takes none: leave it out.")
        age = 0 if self._newest is None else max(0, self._newest - stamp_ns)
        if age > self.horizon_ns or (self._base_ns is not None and stamp_ns < self._base_ns):
            self.counts[stream]["too late"] += 1
            return Arrival("too late", age, 0, None)
        rank = self._ranks[stream]
        place = bisect_right(self._taken, (stamp_ns, rank), key=lambda one: (one.stamp, one.rank))
        later = self._taken[place:]
        told, made = self._run(place, _Taken(stamp_ns, rank, Event(value, observed, mask), noise, None), later)
        self._taken[place:] = made
        self._newest = stamp_ns if self._newest is None else max(self._newest, stamp_ns)
        self._forget()
        verdict: Verdict = "late" if later else "in order"
        self.counts[stream][verdict] += 1
        return Arrival(verdict, age, len(later), told)

    def state_at(self, stamp_ns: int) -> State:
        """Return what is known at a moment from measurements up to it; an estimator's state is predicted to it.

        Raises:
            ValueError: If the moment is before the horizon's states.
        """
        place = bisect_right(self._taken, stamp_ns, key=lambda one: one.stamp)
        since, state = self._before(place)
        if since is None:
            return state
        if stamp_ns < since:
            raise ValueError(f"stamp_ns is {stamp_ns}, the oldest state kept is at {since}: lengthen the horizon.")
        if isinstance(self.model, FusionEncoder):
            return state
        return self.model.predict(state, self._seconds(stamp_ns - since))

    def _run(self, place: int, new: _Taken, later: list[_Taken]) -> tuple[Innovation | Tensor, list[_Taken]]:
        """Run a new measurement after the state at a place, and the later ones after it."""
        since, state = self._before(place)
        answers, made = list[Innovation | Tensor](), list[_Taken]()
        for one in (new, *later):
            told, state = self._advance(state, one, 0 if since is None else one.stamp - since)
            since = one.stamp
            answers.append(told)
            made.append(_Taken(one.stamp, one.rank, one.event, one.noise, state))
        return answers[0], made

    def _before(self, place: int) -> tuple[int | None, State]:
        """Return the state before the measurement at a place, and when it was."""
        if not place:
            return self._base_ns, self._base
        return self._taken[place - 1].stamp, self._taken[place - 1].state

    def _advance(self, state: State, one: _Taken, elapsed_ns: int) -> tuple[Innovation | Tensor, State]:
        """Let time pass and take a measurement."""
        stream = tuple(self._ranks)[one.rank]
        if isinstance(self.model, FusionEncoder):
            elapsed = torch.full((self.batch,), elapsed_ns, dtype=torch.int64, device=one.event.values.device)
            tokens, state = self.model.step({stream: one.event}, elapsed, state=state)
            return tokens[stream], state
        value, observed, mask = one.event
        value = value if observed is None else torch.where(observed, value, torch.nan)
        state = self.model.predict(state, self._seconds(elapsed_ns))
        state, told = self.model.update(state, stream, value, noise=one.noise, mask=mask)
        return told, state

    def _seconds(self, elapsed_ns: int) -> Tensor:
        like = _like(self._base)
        return torch.full((self.batch,), elapsed_ns / 1e9, dtype=like.dtype, device=like.device)

    def _forget(self) -> None:
        """Drop measurements that are older than the horizon; the state after the last of them becomes the base."""
        oldest = cast(int, self._newest) - self.horizon_ns
        gone = bisect_right(self._taken, oldest - 1, key=lambda one: one.stamp)
        if gone:
            self._base_ns, self._base = self._taken[gone - 1].stamp, self._taken[gone - 1].state
            del self._taken[:gone]


def _like(state: Any) -> Tensor:
    """Return the first tensor of floating point numbers of a state."""
    if isinstance(state, Tensor):
        return state
    found = (_like(leaf) for leaf in state)
    return next((leaf for leaf in found if leaf.dtype.is_floating_point), torch.zeros((), dtype=torch.int64))
