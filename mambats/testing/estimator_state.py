"""Laws of an estimator's state: what changes it, what does not, and who sees whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mambats.protocols import Estimator
from mambats.series.state import flatten_state, map_state
from mambats.testing.compare import require
from mambats.testing.moments import Moment, play
from mambats.testing.sequence import agree_states


def check_standing_still(estimator: Estimator, state: Any) -> None:
    """Demand that no time passing changes nothing, to the bit."""
    _equal("predict(0) changes nothing", estimator.predict(state, times(estimator, state, 0.0)), state)


def check_split(estimator: Estimator, state: Any) -> None:
    """Demand that two predictions in a row are one of both times."""
    one, two = times(estimator, state, 0.3), times(estimator, state, 0.5)
    split = estimator.predict(estimator.predict(state, one), two)
    agree_states("two predictions == one of both times", split, estimator.predict(state, one + two))


def check_masks(estimator: Estimator, state: Any, moments: Sequence[Moment]) -> None:
    """Demand that rows that did not measure keep their state to the bit, and the others do not notice."""
    for moment in moments:
        after, told = estimator.update(state, moment.stream, moment.value, mask=moment.mask)
        whole, _ = estimator.update(state, moment.stream, moment.value)
        law = "rows with mask False keep their state"
        _equal(law, rows_of(after, ~moment.mask), rows_of(state, ~moment.mask))
        require(law, not bool(told.used[~moment.mask].any()), "their `used` is True")
        agree_states(
            "rows with mask True do not see the others", rows_of(after, moment.mask), rows_of(whole, moment.mask)
        )


def check_kept_state(estimator: Estimator, state: Any, moments: Sequence[Moment]) -> None:
    """Demand that a state is batch first and never changed in place."""
    batch = len(moments[0].elapsed)
    for name, leaf in flatten_state(state).items():
        require("state is batch first", leaf.shape[:1] == (batch,), f"{name} has shape {tuple(leaf.shape)}")
    before = map_state(state, torch.clone)
    play(estimator, state, moments)
    for moment in moments:
        estimator.update(state, moment.stream, moment.value, mask=moment.mask)
    _equal("a run leaves the state it was given alone", state, before)


def check_rows_apart(estimator: Estimator, state: Any, moments: Sequence[Moment]) -> None:
    """Demand that series do not see each other."""
    final, _ = play(estimator, state, moments)
    order = torch.arange(len(moments[0].elapsed), device=moments[0].elapsed.device).flip(0)
    turned, _ = play(estimator, rows_of(state, order), [moment.rows(order) for moment in moments])
    agree_states("batch order does not matter", turned, rows_of(final, order))
    alone, _ = play(estimator, rows_of(state, order[-1:]), [moment.rows(order[-1:]) for moment in moments])
    agree_states("a series alone == in a batch", alone, rows_of(final, order[-1:]))


def check_twice_the_same(estimator: Estimator, state: Any, moments: Sequence[Moment]) -> None:
    """Demand that the same state and the same measurements give the same state, to the bit."""
    one, two = (play(estimator, state, moments)[0] for _ in range(2))
    _equal("two runs are bit-equal", one, two)


def check_holes(estimator: Estimator, state: Any, moments: Sequence[Moment]) -> None:
    """Demand that a row of NaN is refused with a ValueError, or counts as not measured."""
    law = "NaN is refused or not measured"
    for moment in moments:
        value = moment.value.clone()
        value[0] = torch.nan
        try:
            after, told = estimator.update(state, moment.stream, value)
        except ValueError:
            continue
        _equal(law, rows_of(after, slice(0, 1)), rows_of(state, slice(0, 1)))
        require(law, not bool(told.used[0]), "its `used` is True")
        whole, _ = estimator.update(state, moment.stream, moment.value)
        agree_states(
            f"{law}; the other rows do not notice", rows_of(after, slice(1, None)), rows_of(whole, slice(1, None))
        )


def rows_of(state: Any, chosen: Tensor | slice) -> Any:
    """Some of the series of a state."""
    return map_state(state, lambda leaf: leaf[chosen])


def times(estimator: Estimator, state: Any, seconds: float) -> Tensor:
    """So many seconds for each series of a state, shape (B,)."""
    like = estimator.estimate(state).mean
    return like.new_full((len(like),), seconds)


def _equal(law: str, given: Any, expected: Any) -> None:
    left, right = flatten_state(given), flatten_state(expected)
    wrong = [name for name, leaf in right.items() if name not in left or not torch.equal(left[name], leaf)]
    require(law, not wrong and len(left) == len(right), f"{', '.join(wrong)} differs")
