"""Forecasts that any model must beat, on exactly the windows the model is scored on.

They read the same `Window` batches, scaled as they are, and know rows, not clocks: gaps between rows are ignored.
A missing value inside the lookback is the last observed one before it, the channel's mean where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from mambats.series import Window


class Baseline(Protocol):
    """A forecast without gradient descent."""

    def forecast(self, window: Window) -> Tensor:
        """Forecast the rows after each window's lookback, shape (B, K, C), scaled units."""
        ...


@dataclass(frozen=True)
class LastValue:
    """Repeat the last observed value."""

    def forecast(self, window: Window) -> Tensor:
        """Return the last filled row of the lookback, K times."""
        return filled_lookback(window)[:, -1:].repeat(1, window.horizon, 1)


@dataclass(frozen=True)
class SeasonalNaive:
    """Repeat the last season; where the lookback is shorter than a season, the last value.

    Args:
        season: Rows in a season, >= 1.

    Raises:
        ValueError: If season is not positive.
    """

    season: int

    def __post_init__(self) -> None:
        """Check the season."""
        if self.season < 1:
            raise ValueError(f"season is {self.season}: need a number of rows >= 1, e.g. 24 for hourly values.")

    def forecast(self, window: Window) -> Tensor:
        """Return the rows of the last season, over and over."""
        if self.season > window.lookback:
            return LastValue().forecast(window)
        rows = torch.arange(window.horizon, device=window.values.device) % self.season
        return filled_lookback(window)[:, window.lookback - self.season + rows]


class Ridge:
    """The linear map from the lookback to the horizon with the least squared error: one for all channels.

    The mean of the lookback is taken away before and added back after. The normal equations are summed batch by
    batch in float64, so memory is that of one batch and two matrices, L x L and L x K.

    Args:
        penalty: Weight of the squared coefficients, per training row (a window of a channel), in squared scaled units.
        lookback: Rows read, the last ones of each window's lookback; None reads all of it. 336 bounds the cost where
            the model reads thousands of rows.

    Source: scikit-learn's Ridge(alpha=penalty * n) gives the same map and intercepts; the published RLinear rows are
        this model trained by gradient descent: Li et al., Revisiting Long-term Time Series Forecasting, 2023.
    """

    def __init__(self, penalty: float = 1e-3, lookback: int | None = None) -> None:
        if penalty <= 0:
            raise ValueError(f"penalty is {penalty}: need a positive number, centred rows are never of full rank.")
        self.penalty = penalty
        self.lookback = lookback
        self._solution: tuple[Tensor, Tensor] | None = None

    @property
    def solution(self) -> tuple[Tensor, Tensor]:
        """The fitted map, shape (L, K), and the intercept of each step, shape (K,), float64.

        Raises:
            RuntimeError: If `fit` has not been called.
        """
        if self._solution is None:
            raise RuntimeError("this Ridge is not fitted yet: call fit with the training windows first.")
        return self._solution

    def fit(self, windows: Iterable[Window]) -> Self:
        """Fit on every window, read once.

        Windows of a channel with a missing target are left out; only where fewer complete ones than coefficients
        are found, they count with their targets filled like the lookback.

        Args:
            windows: Training batches, all of the same lookback (at least `lookback`) and horizon.

        Raises:
            ValueError: If there is no window, or the lookback is too short.
        """
        complete, filled = _Moments(), _Moments()
        for window in windows:
            history, target, whole = self._rows(window)
            complete.add(history[whole], target[whole])
            if not bool(whole.all()):
                filled.add(history[~whole], target[~whole])
        lookback = complete.squares.shape[0]
        total = complete if complete.rows > lookback else complete.plus(filled)
        if total.rows == 0:
            raise ValueError("ridge was given no window to fit on: the training split needs lookback + horizon rows.")
        self._solution = total.solve(self.penalty)
        return self

    def forecast(self, window: Window) -> Tensor:
        """Return the mean of the lookback, plus the linear map of what differs from it, plus the intercept."""
        weight, intercept = (part.to(window.values) for part in self.solution)
        if window.horizon != weight.shape[1]:
            raise ValueError(
                f"ridge was fitted for {weight.shape[1]} steps, the window asks {window.horizon}: fit anew."
            )
        history = self._history(filled_lookback(window), weight.shape[0])
        mean = history.mean(1, keepdim=True)
        return ((history - mean).transpose(1, 2) @ weight + intercept).transpose(1, 2) + mean

    def _history(self, lookback: Tensor, rows: int | None) -> Tensor:
        """Return the last rows of lookback (B, L, C)."""
        if rows is not None and rows > lookback.shape[1]:
            raise ValueError(f"ridge reads {rows} rows, the window has a lookback of {lookback.shape[1]}: lengthen it.")
        return lookback if rows is None else lookback[:, lookback.shape[1] - rows :]

    def _rows(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """Return centred histories (n, L), centred targets (n, K) and which targets are complete (n,)."""
        history = self._history(filled_lookback(window), self.lookback).double()
        mean = history.mean(1, keepdim=True)
        present = _present(window)
        target, whole = window.target, torch.ones_like(window.values[:, 0], dtype=torch.bool)
        if present is not None:
            target = fill_forward(window.values, present)[:, window.lookback :]
            whole = present[:, window.lookback :].all(1)
        flat = [(x - mean).transpose(1, 2).flatten(0, 1) for x in (history, target)]
        return flat[0], flat[1], whole.flatten()


def fit_baselines(
    train: Iterable[Window], season: int, *, ridge_lookback: int | None = None
) -> dict[str, LastValue | SeasonalNaive | Ridge]:
    """Return the baselines of a result table, ready to forecast.

    Args:
        train: Every training window once (only ridge reads them).
        season: Rows in a season.
        ridge_lookback: Rows that ridge reads, or None for the windows' own lookback.

    Returns:
        `last_value`, `seasonal_naive` and `ridge`.
    """
    return {
        "last_value": LastValue(),
        "seasonal_naive": SeasonalNaive(season),
        "ridge": Ridge(lookback=ridge_lookback).fit(train),
    }


def target_present(window: Window) -> Tensor | None:
    """Return which targets are to be scored, shape (B, K, C) bool, or None for all: observed, in rows that exist."""
    present = _present(window)
    return None if present is None else present[:, window.lookback :]


def filled_lookback(window: Window) -> Tensor:
    """Return the lookback without holes, shape (B, L, C); it reads nothing after the lookback."""
    history, present = window.values[:, : window.lookback], _present(window)
    return history if present is None else fill_forward(history, present[:, : window.lookback])


def fill_forward(values: Tensor, present: Tensor) -> Tensor:
    """Fill absent values with the last present one, those before the first with the mean of the present ones.

    Args:
        values: Shape (B, T, C).
        present: Shape (B, T, C) bool.

    Returns:
        Shape (B, T, C); zeros for a channel of which nothing is present.
    """
    rows = torch.arange(values.shape[1], device=values.device).view(1, -1, 1)
    latest = torch.where(present, rows, -1).cummax(1).values
    known = torch.where(present, values, 0)
    mean = known.sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)
    return torch.where(latest >= 0, known.gather(1, latest.clamp(min=0)), mean)


def _present(window: Window) -> Tensor | None:
    """Return which values exist, shape (B, L + K, C) bool, or None where all do."""
    if window.mask is None:
        return window.observed
    rows = window.mask.unsqueeze(-1).expand_as(window.values)
    return rows if window.observed is None else rows & window.observed


class _Moments:
    """Sums of z z' and z y' over rows z = (x, 1), float64: the 1 carries the intercept."""

    def __init__(self) -> None:
        self.rows = 0
        self.squares = torch.zeros(0, 0, dtype=torch.float64)
        self.products = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add rows x (n, L) and y (n, K)."""
        z = torch.nn.functional.pad(x, (0, 1), value=1.0)
        if self.squares.numel() == 0:
            self.squares, self.products = z.new_zeros(z.shape[1], z.shape[1]), z.new_zeros(z.shape[1], y.shape[1])
        if (z.shape[1], y.shape[1]) != tuple(self.products.shape):
            raise ValueError(
                f"a window has lookback {x.shape[1]} and horizon {y.shape[1]}, earlier ones "
                f"{self.products.shape[0] - 1} and {self.products.shape[1]}: give windows of one length."
            )
        self.squares.addmm_(z.T, z)
        self.products.addmm_(z.T, y)
        self.rows += x.shape[0]

    def plus(self, other: _Moments) -> _Moments:
        """Return the sums over both sets of rows."""
        if not (self.rows and other.rows):
            return self if self.rows else other
        total = _Moments()
        total.rows = self.rows + other.rows
        total.squares, total.products = self.squares + other.squares, self.products + other.products
        return total

    def solve(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return the map (L, K) and the intercept (K,) with the least squared error plus penalty a row."""
        diagonal = self.squares.diagonal() + penalty * self.rows
        diagonal[-1] = self.rows  # the intercept is not penalised
        factor = torch.linalg.cholesky(self.squares.diagonal_scatter(diagonal))
        solution = torch.cholesky_solve(self.products, factor)
        return solution[:-1], solution[-1]
