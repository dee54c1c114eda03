"""What is known of tracks with hindsight: of a fixed lag, or of all that came."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats.estimators.nonlinear import Transition, step_back
from mambats.gaussian import Gaussian
from mambats.track.history import History


def smoothed(history: History, lag: float) -> Gaussian:
    """Return the states of all rows of a history, as known `lag` seconds after each.

    Args:
        history: Of a run.
        lag: Seconds; infinite for all that came (offline).

    Returns:
        Mean (N, n) and covariance (N, n, n), rows as in the history. A row of 2 s lag does not change with what comes
        later than 2 s after it.

    Source: Rauch, Tung and Striebel 1965, on the window of each row.
    """
    last = history.reach(lag)
    ahead = last - torch.arange(len(last))  # rows of the same track that each may look at
    mean, covariance = history.tracks.mean.clone(), history.tracks.covariance.clone()
    # With no bound one way back does for all rows; with one, each row goes back over its own window.
    takes = torch.eq if math.isinf(lag) else torch.ge
    for k in range(1, int(ahead.max()) + 1 if len(ahead) else 1):
        rows = torch.nonzero(takes(ahead, k))[:, 0]
        mean[rows], covariance[rows] = _back(history, rows, Gaussian(mean[rows + 1], covariance[rows + 1]))
    return Gaussian(mean, covariance)


def _back(history: History, rows: Tensor, after: Gaussian) -> Gaussian:
    """Return what is known of some rows, once `after` is known of the rows behind them."""
    mean, covariance = history.tracks.mean[rows], history.tracks.covariance[rows]
    waits = history.stamps.diff()[history.frame[rows]]
    made = Gaussian(torch.empty_like(mean), torch.empty_like(covariance))
    for wait in waits.unique().tolist():  # a step's matrices are shared by all rows that waited as long
        here = waits == wait
        state = Gaussian(mean[here], covariance[here])
        matrix, noise = history.step(rows[here], state.mean, wait / 1e9)
        moved = Transition(history.predictor.moved(state.mean, wait / 1e9), matrix, noise)
        made.mean[here], made.covariance[here] = step_back(state, Gaussian(*(p[here] for p in after)), moved)
    return made
