"""Numbers asked of streams behind `mambats.streaming.engine`: answered at once, or at the lag of a look-ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mambats.protocols import FusionEncoder
from mambats.recipe import describe
from mambats.regress.stream_model import StreamRegressor
from mambats.series import SensorRows
from mambats.series.state import flatten_state, restore_state
from mambats.streaming.engine import AGE, STAMP, BoolArray, Int64Array, Outputs, State, StepEvent
from mambats.streaming.engines.facts import fingerprint
from mambats.streaming.engines.waiting import Waiting, WaitingRows

#: The start of the block that is being filled, the stamp of the step before, whether there was none, and nanoseconds
#: that a clock rule left out (whole blocks, so that their ends stay where ticks are).
BEGIN, LAST, FRESH, SHIFT = "begin_ns", "last_ns", "fresh", "shift_ns"
#: Output: seconds from the moment an answer is for to the one that brought it.
LAG = "lag_s"
_NEVER = -(2**63)


class RegressorEngine:
    """Run a `StreamRegressor` for robots side by side.

    Rows are kept in the state until their block of time is over; then the scans forwards go on from where they were,
    the scans backwards run through the block, and all that was asked within it is answered. Blocks (k L, (k + 1) L]
    stand on whole multiples of the look-ahead L since 1970, so an answer waits for L at most, if packets or ticks come.
    The numbers are those of the model over a window that begins where the robot's first block does. A causal model
    answers at the tick that asks; its blocks are ticks.

    Answers: each target by name, and `lag_s`, how long it waited; its stamp is that of the moment asked about.

    Args:
        model: In evaluation mode, on the CPU.
        tick_ns: The runner asks at whole multiples of it; None takes the encoder's period.
        rate: Rows a second of each stream that there is room for.

    Raises:
        ValueError: If the tick or the rate is not above 0, the model reads tables, or cannot run block by block.
    """

    def __init__(self, model: StreamRegressor, tick_ns: int | None = None, rate: float = 1000.0) -> None:
        encoder = model.encoder
        self.tick_ns = encoder.period_ns if tick_ns is None else tick_ns
        if self.tick_ns < 1 or not rate > 0:
            raise ValueError(f"tick_ns is {tick_ns}, rate {rate}: need above 0.")
        self.model, self.rate = model.eval().requires_grad_(False), rate
        self.lag_ns = round(model.lag * 1e9)
        self.block_ns = self.lag_ns or self.tick_ns
        self.streams: Mapping[str, int] = {name: _channels(encoder, name) for name in encoder.streams}
        asks, rows = self.block_ns // self.tick_ns + 2, max(64, int(rate * self.block_ns / 1e9))
        self._waiting = Waiting({n: (width, rows if width else asks) for n, width in self.streams.items()})
        self.outputs: Mapping[str, tuple[int, ...]] = {**{name: () for name in model.targets}, LAG: (), AGE: (asks,)}
        weights = {name: v.detach().contiguous().numpy() for name, v in model.state_dict().items()}
        facts = {"model": describe(model), "tick_ns": self.tick_ns, "lag_ns": self.lag_ns, "rate": rate}
        self.identity = fingerprint(facts, weights)
        self._like = model.init_state(1)

    def init_state(self, rows: int) -> State:
        """Return the state before any moment."""
        clocks: State = {name: np.zeros(rows, np.int64) for name in (STAMP, BEGIN, LAST, SHIFT)}
        model = {name: leaf.contiguous().numpy() for name, leaf in flatten_state(self.model.init_state(rows)).items()}
        return {**clocks, FRESH: np.ones(rows, np.bool_), **self._waiting.init_state(rows), **model}

    def step(self, events: Mapping[str, StepEvent], elapsed_ns: Int64Array, state: State) -> tuple[Outputs, State]:
        """Take what was measured at one moment; see `mambats.streaming.engine.Engine.step`.

        Raises:
            ValueError: If more rows came within a block than there is room for.
        """
        here = np.logical_or.reduce([event.mask for event in events.values()])
        after, fresh, block = dict(state), state[FRESH], self.block_ns
        untold = np.where(here & ~fresh, state[STAMP] - state[LAST] - elapsed_ns, 0)
        after[SHIFT] = state[SHIFT] + untold // block * block
        now = state[STAMP] - after[SHIFT]
        start = (now - 1) // block * block  # of the block that this moment is in
        after[BEGIN] = np.where(here & fresh, start, state[BEGIN])
        after[LAST], after[FRESH] = np.where(here, state[STAMP], state[LAST]), fresh & ~here
        answers = [self._close(after, here & (now > after[BEGIN] + block), start, state[SHIFT])]
        for name, event in events.items():
            self._waiting.keep(after, name, event, now)
        asked = events[self.model.ask].mask if self.model.ask in events else np.zeros_like(here)
        # All of this moment is there when it asks, and nothing later belongs to its block.
        answers.append(self._close(after, asked & (now == after[BEGIN] + block), now, after[SHIFT]))
        return self._outputs(answers, state[STAMP]), after

    @torch.no_grad()
    def _close(
        self, after: State, over: BoolArray, end: Int64Array, shift: Int64Array
    ) -> tuple[npt.NDArray[np.float64], Int64Array]:
        """Run the blocks of some robots, up to the start of another; return answers (rows, A, k) and their stamps.

        The stamp of what is no answer is `_NEVER`.
        """
        count = np.where(over, after[f"rows.{self.model.ask}.count"], 0)
        answers = np.zeros((len(over), int(count.max()), len(self.model.targets)))
        stamps = np.full(answers.shape[:2], _NEVER, np.int64)
        begin = after[BEGIN]
        for length in np.unique((end - begin)[over]):
            chosen = np.flatnonzero(over & (end - begin == length))
            rows = {name: self._waiting.read(after, name, chosen, begin[chosen]) for name in self.streams}
            asked = rows.pop(self.model.ask)
            like = {name: torch.from_numpy(after[name][chosen]) for name in flatten_state(self._like)}
            said, left = self.model.carry(
                {name: _torch(part) for name, part in rows.items()}, _torch(asked), int(length),
                restore_state(self._like, like),
            )  # fmt: skip
            for name, leaf in flatten_state(left).items():
                after[name] = after[name].copy()
                after[name][chosen] = leaf.numpy()
            most = asked.mask.shape[1]
            answers[chosen, :most] = np.where(asked.mask[..., None], self.model.estimate(said).double().numpy(), 0)
            stamps[chosen, :most] = np.where(asked.mask, asked.passed + (begin + shift)[chosen, None], _NEVER)
        after[BEGIN] = np.where(over, end, begin)
        self._waiting.clear(after, over)
        return answers, stamps

    def _outputs(self, parts: list[tuple[npt.NDArray[np.float64], Int64Array]], stamp: Int64Array) -> Outputs:
        answers, stamps = (np.concatenate(each, 1) for each in zip(*parts, strict=True))
        ages = np.where(stamps == _NEVER, -1, stamp[:, None] - stamps)
        found: dict[str, npt.NDArray[Any]] = {
            name: answers[..., at].astype(np.float32) for at, name in enumerate(self.model.targets)
        }
        return {**found, LAG: (np.maximum(ages, 0) / 1e9).astype(np.float32), AGE: ages}


def _channels(encoder: FusionEncoder, name: str) -> int:
    """Return how many numbers a packet of a stream has: what its extractor reads, where there is one."""
    extractor: Any = getattr(encoder, "extractors", {}).get(name)
    if extractor is None:
        return encoder.streams[name]
    if extractor.reads is None:
        raise ValueError(
            f"{name} is read by {type(extractor).__name__}, from tables or pictures: a packet is one row of numbers. "
            "Run models of plain rows."
        )
    return int(extractor.reads)


def _torch(rows: WaitingRows) -> SensorRows:
    mask = torch.from_numpy(rows.mask)
    whole = bool((rows.observed == rows.mask[..., None]).all())
    return SensorRows(
        torch.from_numpy(rows.values),
        mask,
        mask.float(),
        torch.from_numpy(rows.passed),
        None if whole else torch.from_numpy(rows.observed),
    )
