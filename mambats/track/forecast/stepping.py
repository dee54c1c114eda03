"""What a forecaster remembers between frames, so that a robot gets frame by frame what a batch gets at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambats.series.state import merge_states
from mambats.track.forecast.batch import ForecastBatch
from mambats.track.forecast.features import BACK

FRAMES = ("mean", "covariance", "seen", "age", "elapsed", "truth", "own")  # of a batch, what has an axis of frames


class Moment(NamedTuple):
    """N tracks at one frame.

    Args:
        mean: States, shape (N, 10).
        covariance: Of x, y, vx and vy, shape (N, 4, 4).
        seen: Which are there, shape (N,) bool; numbers of the others do not matter.
        age: Seconds since each began, shape (N,).
        elapsed: Seconds since the frame before, shape (N,); at a first frame, those to the second (0.1 say).
        labels: Classes, shape (N,) int64.
        piece: Which of S sensors each track is of, shape (N,) int64, rising.
        own: Motion of its sensor, shape (N, 4): of wheels and gyroscope where there are some, else as `EgoEstimator`
            tells it (`looks_of`, `row_of`).
    """

    mean: Tensor
    covariance: Tensor
    seen: Tensor
    age: Tensor
    elapsed: Tensor
    labels: Tensor
    piece: Tensor
    own: Tensor

    @staticmethod
    def of(batch: ForecastBatch, frame: int) -> Moment:
        """Return one frame of a batch."""
        mean, covariance, seen, age, elapsed = (part[:, frame] for part in batch[:5])
        return Moment(mean, covariance, seen, age, elapsed, batch.labels, batch.piece, batch.own[:, frame])


class ForecastState(NamedTuple):
    """What is remembered of N tracks.

    Args:
        window: The last frames, as a batch: turns of boxes are measured over five. None before the first.
        encoder: State of the encoder.
    """

    window: ForecastBatch | None
    encoder: Any


def shifted(state: ForecastState, moment: Moment) -> ForecastBatch:
    """Return the window with a frame more, and without what is older than turns look back."""
    truth = moment.mean.new_full((len(moment.mean), 0, 2), torch.nan)
    mean, covariance, seen, age, elapsed = (part[:, None] for part in moment[:5])
    new = ForecastBatch(mean, covariance, seen, age, elapsed, moment.labels, moment.piece, truth[:, None],
                        moment.own[:, None])  # fmt: skip
    if state.window is None:
        return new
    if len(state.window.labels) != len(moment.labels):
        raise ValueError(
            f"there are {len(moment.labels)} tracks, the state has {len(state.window.labels)}: keep slots."
        )
    joined = {
        name: torch.cat([getattr(state.window, name), getattr(new, name)], 1)[:, -(BACK + 1) :] for name in FRAMES
    }
    return new._replace(**joined)


def renewed(state: ForecastState, which: Tensor, fresh: Any) -> ForecastState:
    """Return the state with some tracks forgotten, so that others can have their places.

    Args:
        state: Of N tracks.
        which: Those that begin anew, shape (N,) bool.
        fresh: State of the encoder before any row, of N tracks.
    """
    window = state.window
    if window is not None:
        window = window._replace(seen=window.seen & ~which[:, None])

    def chosen(leaves: list[Tensor]) -> Tensor:
        return torch.where(which.view(-1, *(1,) * (leaves[0].ndim - 1)), *leaves)

    return ForecastState(window, merge_states([fresh, state.encoder], chosen))
