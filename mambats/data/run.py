"""One series, uninterrupted: what a streaming evaluation reads row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mambats.data.windows import Lane, Lanes
from mambats.series import Stamps


@dataclass(frozen=True)
class Run:
    """Consecutive rows of one series, scaled, with a batch axis of 1.

    Args:
        values: Targets, shape (1, T, C); 0 where not observed.
        first: Row (inside this run) of the split's first target; the rows before it warm the state.
        stamps: Times in int64 nanoseconds, shape (T,).
        observed: What the model sees as measured, shape (1, T, C) bool, or None where all is.
        scored: What was measured and may be scored, shape (1, T, C) bool, or None where all was; differs from
            `observed` where gaps were filled.
        gaps: Time since the previous row in reference periods, shape (1, T), the first is 1; None where all are 1.
        mask: Rows that exist, shape (1, T) bool, or None where all do.
        past: Covariates known up to now, shape (1, T, P).
        future: Covariates known in advance, calendar included, shape (1, T, F).
        static: Facts of the series, shape (1, S).
    """

    values: Tensor
    first: int
    stamps: Stamps
    observed: Tensor | None = None
    scored: Tensor | None = None
    gaps: Tensor | None = None
    mask: Tensor | None = None
    past: Tensor | None = None
    future: Tensor | None = None
    static: Tensor | None = None


def cut_run(lanes: Lanes, stamps: Stamps, series: int, rows: slice, first: int, *, filled: bool) -> Run:
    """Cut rows of one series (row numbers inside the series) as one run."""
    base = int(lanes.offsets[series])
    start, length = base + rows.start, rows.stop - rows.start
    flat = slice(start, start + length)
    scored = None if lanes.observed is None else torch.from_numpy(lanes.observed[:, flat].T.copy())[None]
    gaps = None if lanes.gaps is None else torch.from_numpy(lanes.gaps[flat].copy())[None]
    if gaps is not None:
        gaps[:, :1] = 1.0
    return Run(
        values=_rows(lanes.target, start, length),
        first=first,
        stamps=stamps[flat],
        observed=None if filled else scored,
        scored=scored,
        gaps=gaps,
        mask=None if lanes.mask is None else torch.from_numpy(lanes.mask[flat].copy())[None],
        past=None if lanes.past is None else _rows(lanes.past, start, length),
        future=None if lanes.future is None else _rows(lanes.future, start, length),
        static=None if lanes.static is None else torch.from_numpy(lanes.static[series].copy())[None],
    )


def _rows(lane: Lane, start: int, length: int) -> Tensor:
    """(1, T, C), contiguous."""
    return torch.from_numpy(lane.cut(np.array([start]), length).transpose(0, 2, 1).copy())
