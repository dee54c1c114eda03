"""A detector: a model's surprise, calibrated against its own past, and a threshold."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mambats.anomaly.calibration import CalibrationState, RunningCalibration
from mambats.anomaly.rows import Rows, Surprise
from mambats.anomaly.scorer import Scorer


class Memory(NamedTuple):
    """What judging surprises carries from row to row, batch first.

    Args:
        calibration: Of the score.
        lasting: Of the lasting score.
        quiet: Rows since the threshold was last reached, shape (B,) int64.
    """

    calibration: CalibrationState
    lasting: CalibrationState
    quiet: Tensor


class DetectorState(NamedTuple):
    """What a detector carries from row to row."""

    scorer: Any
    memory: Memory


class Judgement(NamedTuple):
    """What becomes of surprises.

    Args:
        score: How odd each row is: deviations above its own past, shape (B, T).
        lasting: How odd the stretch up to it is, the same with a long mean, shape (B, T).
        alarm: Rows that ring: the score reaches the threshold after a rest below it, shape (B, T) bool.
        event: Rows from each alarm until the rest after it is over, shape (B, T) bool.
    """

    score: Tensor
    lasting: Tensor
    alarm: Tensor
    event: Tensor


class Detected(NamedTuple):
    """What a detector says of rows: scores, alarms and events as in `Judgement`, and the surprise behind them."""

    score: Tensor
    lasting: Tensor
    alarm: Tensor
    event: Tensor
    surprise: Surprise


class Detector(nn.Module):
    """Score rows of a stream, in parallel or one by one with the same numbers.

    When to ring and how odd a stretch is are two questions: a short anomaly drowns in a long mean, a long one of small
    surprises is seen in nothing else. So there are two scores of the same surprises, and alarms come from the short.

    Args:
        scorer: `ForecastError` (online) or `Reconstruction` (offline).
        calibration: How surprises become scores; None is `RunningCalibration()`.
        threshold: Score from which on a row raises an alarm, in deviations of the past; 4.26 is a chance of 1e-5 for
            normal scores, as the anomaly likelihood has it.
        lasting: How surprises become lasting scores: one with a long mean; None takes `calibration` for both.
        rest: Rows that must stay below the threshold before it rings again: one alarm for one event.

    Raises:
        ValueError: If rest is negative.
    """

    def __init__(
        self,
        scorer: Scorer,
        calibration: RunningCalibration | None = None,
        threshold: float = 4.26,
        lasting: RunningCalibration | None = None,
        rest: int = 0,
    ) -> None:
        super().__init__()
        if rest < 0:
            raise ValueError(f"rest is {rest} rows: needed 0 or more.")
        self.scorer, self.calibration, self.threshold = scorer, calibration, threshold
        self.lasting, self.rest = lasting, rest
        self.running = calibration or RunningCalibration()

    def init_state(self, batch: int) -> DetectorState:
        """Return the state before any row; raises `StreamingError` where the scorer reads ahead."""
        scorer = self.scorer.init_state(batch)
        return DetectorState(scorer, self.init_memory(batch, next(self.scorer.parameters()).device))

    def init_memory(self, batch: int, device: torch.device | None = None) -> Memory:
        """Return the memory of `judge` before any row."""
        lasting = (self.lasting or self.running).init_state(batch, device)
        quiet = torch.full((batch,), self.rest, dtype=torch.int64, device=device)
        return Memory(self.running.init_state(batch, device), lasting, quiet)

    def forward(self, rows: Rows, state: DetectorState | None = None) -> tuple[Detected, DetectorState]:
        """Score rows of B series; with a state they go on where it was left.

        Raises:
            ValueError: If shapes disagree; `StreamingError` for a state where the scorer reads ahead.
        """
        surprise, scorer = self.scorer(rows, None if state is None else state.scorer)
        return self._detected(rows, surprise, scorer, None if state is None else state.memory)

    def step(self, row: Rows, state: DetectorState) -> tuple[Detected, DetectorState]:
        """Score one row (T = 1)."""
        surprise, scorer = self.scorer.step(row, state.scorer)
        return self._detected(row, surprise, scorer, state.memory)

    def judge(self, surprise: Tensor, seen: Tensor, memory: Memory | None = None) -> tuple[Judgement, Memory]:
        """Return scores and alarms of surprises (B, T) of anyone, seen or not (B, T), and the memory after the last."""
        before = self.init_memory(len(surprise), surprise.device) if memory is None else memory
        score, sums = self.running(surprise, seen, before.calibration)
        lasting, long = (score, sums) if self.lasting is None else self.lasting(surprise, seen, before.lasting)
        alarm, event, quiet = rings(score >= self.threshold, self.rest, before.quiet)
        return Judgement(score, lasting, alarm, event), Memory(sums, long, quiet)

    def _detected(
        self, rows: Rows, surprise: Surprise, scorer: Any, before: Memory | None
    ) -> tuple[Detected, DetectorState]:
        found, after = self.judge(surprise.score, rows.seen.any(-1), before)
        return Detected(*found, surprise), DetectorState(scorer, after)


def rings(reached: Tensor, rest: int, quiet: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return which rows ring and which belong to an event, (B, T) bool, and rows since the threshold was reached, (B,).

    Args:
        reached: Rows at the threshold or above, shape (B, T) bool.
        rest: Rows below it that come before each that rings.
        quiet: Rows since it was reached, before the first, shape (B,).
    """
    row = torch.arange(1, reached.shape[1] + 1, device=reached.device)
    latest = torch.cat([-quiet[:, None], torch.where(reached, row, -quiet[:, None])], 1).cummax(1).values
    return reached & (row - latest[:, :-1] > rest), row - latest[:, 1:] <= rest, reached.shape[1] - latest[:, -1]


def whole_series(detector: Detector, rows: Rows, chunk: int = 4096) -> Detected:
    """Score series of any length in bounded memory: chunks with carried state where the scorer has one."""
    if detector.scorer.mode != "online":
        return detector(rows)[0]
    state, parts = detector.init_state(len(rows.values)), list[Detected]()
    for begin in range(0, max(rows.values.shape[1], 1), chunk):
        found, state = detector(rows.part(begin, begin + chunk), state)
        parts.append(found)
    surprise = Surprise(*(torch.cat(each, 1) for each in zip(*(p.surprise for p in parts), strict=True)))
    score, lasting, alarm, event = (torch.cat(each, 1) for each in zip(*(p[:4] for p in parts), strict=True))
    return Detected(score, lasting, alarm, event, surprise)
