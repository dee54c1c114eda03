"""A detector: a model's surprise, calibrated against its own past, and a threshold."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mambats.anomaly.calibration import CalibrationState, RunningCalibration
from mambats.anomaly.rows import Rows, Surprise
from mambats.anomaly.scorer import Scorer


class DetectorState(NamedTuple):
    """What a detector carries from row to row."""

    scorer: Any
    calibration: CalibrationState


class Detected(NamedTuple):
    """What a detector says of rows.

    Args:
        score: Calibrated score, deviations above its own past, shape (B, T).
        alarm: Where it reaches the threshold, shape (B, T) bool.
        surprise: What it was made of.
    """

    score: Tensor
    alarm: Tensor
    surprise: Surprise


class Detector(nn.Module):
    """Score rows of a stream, in parallel or one by one with the same numbers.

    Args:
        scorer: `ForecastError` (online) or `Reconstruction` (offline).
        calibration: How surprises become scores; None is `RunningCalibration()`.
        threshold: Score from which on a row raises an alarm, in deviations of the past; 4.26 is a chance of 1e-5 for
            normal scores, as the anomaly likelihood has it.
    """

    def __init__(self, scorer: Scorer, calibration: RunningCalibration | None = None, threshold: float = 4.26) -> None:
        super().__init__()
        self.scorer, self.calibration, self.threshold = scorer, calibration, threshold
        self.running = calibration or RunningCalibration()

    def init_state(self, batch: int) -> DetectorState:
        """Return the state before any row; raises `StreamingError` where the scorer reads ahead."""
        scorer = self.scorer.init_state(batch)
        device = next(self.scorer.parameters()).device
        return DetectorState(scorer, self.running.init_state(batch, device))

    def forward(self, rows: Rows, state: DetectorState | None = None) -> tuple[Detected, DetectorState]:
        """Score rows of B series; with a state they go on where it was left.

        Raises:
            ValueError: If shapes disagree; `StreamingError` for a state where the scorer reads ahead.
        """
        surprise, scorer = self.scorer(rows, None if state is None else state.scorer)
        return self._calibrated(rows, surprise, scorer, None if state is None else state.calibration)

    def step(self, row: Rows, state: DetectorState) -> tuple[Detected, DetectorState]:
        """Score one row (T = 1)."""
        surprise, scorer = self.scorer.step(row, state.scorer)
        return self._calibrated(row, surprise, scorer, state.calibration)

    def _calibrated(
        self, rows: Rows, surprise: Surprise, scorer: Any, before: CalibrationState | None
    ) -> tuple[Detected, DetectorState]:
        score, after = self.running(surprise.score, rows.seen.any(-1), before)
        return Detected(score, score >= self.threshold, surprise), DetectorState(scorer, after)


def whole_series(detector: Detector, rows: Rows, chunk: int = 4096) -> Detected:
    """Score series of any length in bounded memory: chunks with carried state where the scorer has one."""
    if detector.scorer.mode != "online":
        return detector(rows)[0]
    state, parts = detector.init_state(len(rows.values)), list[Detected]()
    for begin in range(0, max(rows.values.shape[1], 1), chunk):
        found, state = detector(rows.part(begin, begin + chunk), state)
        parts.append(found)
    surprise = Surprise(*(torch.cat(each, 1) for each in zip(*(p.surprise for p in parts), strict=True)))
    return Detected(torch.cat([p.score for p in parts], 1), torch.cat([p.alarm for p in parts], 1), surprise)
