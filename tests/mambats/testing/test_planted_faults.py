"""A check that cannot fail proves nothing: each law is broken on purpose, and the check must say which."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from mambats.encoders import BidirectionalEncoder, CausalEncoder
from mambats.mixers import MIXERS, Mamba, MambaSettings
from mambats.testing import (
    Rows,
    check_encoder,
    check_lookahead,
    check_mixer,
    draw_rows,
    flatten_state,
    restore_state,
)


class Honest(CausalEncoder):
    def __init__(self, **changes):
        super().__init__(2, 4, 2, mixer=MIXERS["mamba"], **changes)


class LeaksTheNextRow(Honest):
    """Only at row 5, only one row ahead, only a little."""

    def forward(self, x, *args, **kwargs):
        y, state = super().forward(x, *args, **kwargs)
        if x.shape[1] > 6:
            y = torch.cat([y[:, :5], y[:, 5:6] + 1e-6 * x[:, 6:7].sum(-1, keepdim=True), y[:, 6:]], 1)
        return y, state


class LeaksAverages(Honest):
    def forward(self, x, *args, **kwargs):
        return super().forward(x - x.mean(1, keepdim=True), *args, **kwargs)


class LeaksTheNextGap(Honest):
    def forward(self, x, gaps=None, **kwargs):
        y, state = super().forward(x, gaps, **kwargs)
        return y if gaps is None else y + 1e-3 * gaps.roll(-1, 1).unsqueeze(-1), state


class ForgetsState(Honest):
    def forward(self, x, gaps=None, *, state=None, **kwargs):
        return super().forward(x, gaps, **kwargs)


class ForgetsPendingGaps(Honest):
    def forward(self, x, gaps=None, *, state=None, **kwargs):
        if state is not None:
            clock = state.clock._replace(pending=torch.zeros_like(state.clock.pending))
            state = state._replace(clock=clock)
        return super().forward(x, gaps, state=state, **kwargs)


class IgnoresMasks(Honest):
    def forward(self, x, gaps=None, *, mask=None, **kwargs):
        y, state = super().forward(x, gaps, **kwargs)
        return (y if mask is None else y * mask.unsqueeze(-1)), state


class OutputsAtRemovedRows(Honest):
    def forward(self, x, gaps=None, *, mask=None, **kwargs):
        y, state = super().forward(x, gaps, mask=mask, **kwargs)
        return y + 1, state


class ReadsAbsentValues(Honest):
    def forward(self, x, gaps=None, *, observed=None, **kwargs):
        y, state = super().forward(x, gaps, observed=observed, **kwargs)
        return y + 0 * x.sum(-1, keepdim=True), state


class MixesTheBatch(Honest):
    def forward(self, x, gaps=None, **kwargs):
        y, state = super().forward(x, gaps, **kwargs)
        return y + 1e-3 * y[:1] * (y != 0), state


class StepsOtherwise(Honest):
    def step(self, x_t, gap_t=None, **kwargs):
        y, state = super().step(x_t, gap_t, **kwargs)
        return y * 1.0001, state


class CutsGradients(Honest):
    def forward(self, x, gaps=None, *, state=None, **kwargs):
        if state is not None:
            state = restore_state(state, {k: v.detach() for k, v in flatten_state(state).items()})
        return super().forward(x, gaps, state=state, **kwargs)


class IsNeverTheSame(Honest):
    def forward(self, x, *args, **kwargs):
        y, state = super().forward(x, *args, **kwargs)
        return y * (1 + 1e-12 * torch.rand((), dtype=y.dtype)), state


class WritesIntoItsState(Honest):
    def forward(self, x, gaps=None, *, state=None, **kwargs):
        y, after = super().forward(x, gaps, state=state, **kwargs)
        if state is not None and not torch.is_grad_enabled():
            state.layers[0].ssm.zero_()
        return y, after


class TakesTheFirstGapAsGiven(Honest):
    def forward(self, x, gaps=None, **kwargs):
        y, state = super().forward(x, gaps, **kwargs)
        return y if gaps is None else y + 1e-3 * (gaps[:, :1] - 1).unsqueeze(-1), state


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        (LeaksAverages, "sees nothing after|masked == removed|absent values"),
        (LeaksTheNextGap, "gaps of 1|masked == removed|sees nothing after"),
        (ForgetsState, "chunks at"),
        (ForgetsPendingGaps, "chunks at"),
        (IgnoresMasks, "masked == removed"),
        (OutputsAtRemovedRows, "outputs at removed rows are zero"),
        (ReadsAbsentValues, "absent values are not read"),
        (MixesTheBatch, "masked == removed|batch order|alone"),
        (StepsOtherwise, "steps == forward"),
        (CutsGradients, "gradients through the carried state"),
        (IsNeverTheSame, "bit-equal"),
        (TakesTheFirstGapAsGiven, "the first gap of a fresh state"),
    ],
)
def test_a_broken_encoder_is_found(fault, law):
    with pytest.raises(AssertionError, match=law):
        check_encoder(fault, batch=2, rows=9)


@pytest.mark.parametrize(
    ("leak", "row"), [(LeaksTheNextRow, "row 5"), (LeaksAverages, "row 0"), (LeaksTheNextGap, "row 0")]
)
def test_a_leak_is_named_by_its_row(leak, row):
    with pytest.raises(AssertionError, match=f"{row} sees nothing after {row}:"):
        check_lookahead(leak().double(), draw_rows(0, (2, 9, 2)))


def test_the_honest_one_passes():
    check_encoder(Honest, batch=2, rows=9)


class PeeksAcrossBlocks(BidirectionalEncoder):
    def _mix(self, token, gaps, mask):
        token = super()._mix(token, gaps, mask)
        return token + 1e-3 * token.roll(-self.lookahead, 1)


def test_a_lookahead_that_is_exceeded_is_found():
    encoder = PeeksAcrossBlocks(1, 4, 1, mixer=MIXERS["mamba"], lookahead=3).double()
    with pytest.raises(AssertionError, match="sees nothing after"):
        check_lookahead(encoder, draw_rows(0, (2, 11, 1), gaps=False), 3)


class StepsAnyway(BidirectionalEncoder):
    def step(self, x_t, *args, **kwargs):
        return x_t, None


class TakesAState(BidirectionalEncoder):
    def forward(self, x, gaps=None, *, state=None, **kwargs):
        return super().forward(x, gaps, **kwargs)


@pytest.mark.parametrize(("fault", "law"), [(StepsAnyway, "refuses step"), (TakesAState, "refuses a state")])
def test_a_non_causal_encoder_that_pretends_is_found(fault, law):
    with pytest.raises(AssertionError, match=law):
        check_encoder(lambda: fault(1, 4, 1, mixer=MIXERS["mamba"]), batch=2, rows=5)


def test_an_encoder_of_regular_rows_that_takes_gaps_is_found():
    with pytest.raises(AssertionError, match="refuses gaps and masks"):
        check_encoder(Honest, batch=2, rows=5, regular=True)


def with_gaps(change):
    """Build a mixer that sees changed gaps."""

    class Changed(Mamba):
        def forward(self, x, gaps=None, **kwargs):
            return super().forward(x, change(gaps), **kwargs)

        def step(self, x_t, gap_t=None, **kwargs):
            return super().step(x_t, change(gap_t), **kwargs)

    return Changed


class RefusesQuietly(Mamba):
    gaps = "refused"


class MovesMaskedRows(Mamba):
    def step(self, x_t, gap_t=None, *, mask_t=None, state):
        return super().step(x_t, gap_t, state=state)


class ForgetsBorders(Mamba):
    def forward(self, x, gaps=None, *, cu_seqlens=None, state=None, reverse=False):
        if cu_seqlens is None:
            return super().forward(x, gaps, state=state, reverse=reverse)
        y, _ = super().forward(x, gaps, reverse=reverse)
        return y, super().forward(x, gaps, cu_seqlens=cu_seqlens, state=state, reverse=reverse)[1]


class ReversesWithForwardGaps(Mamba):
    def forward(self, x, gaps=None, *, reverse=False, **kwargs):
        if reverse and gaps is not None:
            gaps = gaps.roll(1, 1)
        return super().forward(x, gaps, reverse=reverse, **kwargs)


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        (with_gaps(lambda gaps: None), "gaps count"),
        (with_gaps(lambda gaps: None if gaps is None else 2 * gaps), "gaps of 1 == no gaps"),
        (RefusesQuietly, "it declares 'refused', and took them"),
        (MovesMaskedRows, "a masked step gives zero"),
        (ForgetsBorders, "packed == alone"),
        (ReversesWithForwardGaps, "reverse == flipped"),
    ],
)
def test_a_broken_mixer_is_found(fault, law):
    with pytest.raises(AssertionError, match=law):
        check_mixer(lambda: fault(4, MambaSettings(state_size=2)), batch=2, tokens=6)


class EulerInput(Mamba):
    """Claims to hold its input and weighs it as an event: twice the rate counts twice."""

    def __init__(self, width, settings):
        super().__init__(width, settings)
        self.time_invariant = True


def test_a_mixer_that_counts_rows_instead_of_time_is_found():
    settings = MambaSettings(state_size=2, conv_width=0, time_invariant=True, hold=False)
    with pytest.raises(AssertionError, match="twice the rate with half the gaps"):
        check_mixer(lambda: EulerInput(4, settings), batch=2, tokens=6)


class Two(NamedTuple):
    first: Tensor
    rest: tuple[Tensor, ...]


def test_states_flatten_and_come_back():
    state = Two(torch.ones(2), (torch.zeros(2, 1), torch.zeros(2, 0)))
    leaves = flatten_state(state)
    assert list(leaves) == ["state.first", "state.rest.0", "state.rest.1"]
    again = restore_state(state, {k: v + 1 for k, v in leaves.items()})
    assert isinstance(again, Two) and again.first.tolist() == [2, 2] and again.rest[0].tolist() == [[1], [1]]
    with pytest.raises(TypeError, match=r"state\.first is a float"):
        flatten_state(Two(0.5, ()))  # type: ignore[arg-type]


def test_rows_are_the_same_from_the_same_seed():
    one, two = (draw_rows(3, (2, 5, 1), flags=True, kept=0.5) for _ in range(2))
    assert torch.equal(one.x, two.x) and torch.equal(one.gaps, two.gaps) and torch.equal(one.mask, two.mask)
    assert isinstance(one.span(1, 3), Rows) and one.span(1, 3).x.shape == (2, 2, 1)
    assert not torch.equal(one.x, draw_rows(4, (2, 5, 1)).x)
