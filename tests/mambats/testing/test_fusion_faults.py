"""A check that cannot fail proves nothing: each law of fusion is broken on purpose, and the check must say which."""

from dataclasses import replace

import pytest
import torch

from mambats.encoders.fusion import EventFusion, StreamFusion
from mambats.mixers import MIXERS
from mambats.testing import check_fusion_encoder

STREAMS = {"imu": 2, "gnss": 1}


class Honest(StreamFusion):
    def __init__(self):
        super().__init__(STREAMS, 4, 1, period_ns=10_000_000, mixer=MIXERS["mamba"])


class LeaksTheNextRowOfAnotherStream(Honest):
    """A little of the first gnss value that comes after."""

    def forward(self, rows, length_ns, **more):
        tokens, state = super().forward(rows, length_ns, **more)
        if "imu" in tokens and "gnss" in rows and rows["gnss"].mask.shape[1]:
            gnss = rows["gnss"]
            later = gnss.mask.unsqueeze(1) & (gnss.stamps.unsqueeze(1) > rows["imu"].stamps.unsqueeze(2))
            some = 1e-4 * torch.where(later, gnss.values.nan_to_num()[..., 0].unsqueeze(1), 0).sum(2, keepdim=True)
            tokens["imu"] = tokens["imu"] + some * rows["imu"].mask.unsqueeze(2)
        return tokens, state


class SeesLaterStreamsOfOneStamp(Honest):
    """Takes streams that come after in the order for earlier, where stamps are equal."""

    def forward(self, rows, length_ns, **more):
        early = {name: replace(r, stamps=r.stamps - int(name == "gnss")) for name, r in rows.items()}
        return super().forward(early, length_ns, **more)


class ForgetsWhatWasSaid(Honest):
    def forward(self, rows, length_ns, *, state=None):
        if state is not None:
            state = state._replace(heard=self.init_state(len(state.clock.since)).heard)
        return super().forward(rows, length_ns, state=state)


class ForgetsTheTime(Honest):
    def forward(self, rows, length_ns, *, state=None):
        if state is not None:
            state = state._replace(clock=state.clock._replace(since=torch.zeros_like(state.clock.since)))
        return super().forward(rows, length_ns, state=state)


class StepsIgnoreMasks(Honest):
    def step(self, events, elapsed_ns, *, state):
        events = {name: event._replace(values=event.values.nan_to_num(), mask=None) for name, event in events.items()}
        return super().step(events, elapsed_ns, state=state)


class StepsLoseTime(Honest):
    def step(self, events, elapsed_ns, *, state):
        return super().step(events, elapsed_ns if events else elapsed_ns * 0, state=state)


class ReadsTheGapsOfTheWindow(Honest):
    """Gaps count from the window's start: they know nothing of the state."""

    def forward(self, rows, length_ns, **more):
        tokens, state = super().forward(rows, length_ns, **more)
        return {n: t + 1e-3 * rows[n].gaps.unsqueeze(2) * rows[n].mask.unsqueeze(2) for n, t in tokens.items()}, state


class OutputsAtMaskedRows(Honest):
    def forward(self, rows, length_ns, **more):
        tokens, state = super().forward(rows, length_ns, **more)
        return {name: token + 1 for name, token in tokens.items()}, state


class MixesTheBatch(Honest):
    def forward(self, rows, length_ns, **more):
        tokens, state = super().forward(rows, length_ns, **more)
        return {n: t + 1e-3 * t.mean(0, keepdim=True) * rows[n].mask.unsqueeze(2) for n, t in tokens.items()}, state


class TakesUnknownStreams(Honest):
    def forward(self, rows, length_ns, **more):
        return super().forward({name: r for name, r in rows.items() if name in self.streams}, length_ns, **more)


class ChangesItsState(Honest):
    def forward(self, rows, length_ns, *, state=None):
        tokens, after = super().forward(rows, length_ns, state=state)
        if state is not None and rows:
            state.clock.since.add_(1)
        return tokens, after


class MissingIsNotMasked(EventFusion):
    def __init__(self):
        super().__init__(STREAMS, 4, 1, period_ns=10_000_000, mixer=MIXERS["mamba"])

    def forward(self, rows, length_ns, **more):
        tokens, state = super().forward(rows, length_ns, **more)
        return {n: t * (1 + 1e-3 * (len(rows) < 2)) for n, t in tokens.items()}, state


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        (LeaksTheNextRowOfAnotherStream, "sees nothing later|masked == removed"),
        (SeesLaterStreamsOfOneStamp, "sees nothing later"),
        (ForgetsWhatWasSaid, "windows cut at"),
        (ForgetsTheTime, "windows cut at|lets time pass"),
        (StepsIgnoreMasks, "zero where masked"),
        (StepsLoseTime, "state after steps"),
        (ReadsTheGapsOfTheWindow, "absent values are not read|not finite"),
        (OutputsAtMaskedRows, "tokens of masked rows are zero"),
        (MixesTheBatch, "batch|masked == removed"),
        (TakesUnknownStreams, "an unknown stream"),
        (ChangesItsState, "leaves the state|windows cut at|lets time pass"),
        (MissingIsNotMasked, "missing == masked"),
    ],
)
def test_each_fault_is_found_and_named(fault, law):
    with pytest.raises(AssertionError, match=law):
        check_fusion_encoder(fault, batch=2, rows=5, dtype=torch.float32)
