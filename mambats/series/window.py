"""A batch of windows cut from recordings."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A batch of windows: `lookback` rows to read, then the rows to forecast.

    Values are scaled (see `mambats.scale`); absent values are 0 where `observed` is False.

    Args:
        values: Targets, shape (B, L + K, C).
        lookback: L, rows that may be read.
        observed: Which values exist, shape (B, L + K, C) bool, or None where all do.
        gaps: Time since the previous row in reference periods, shape (B, L + K), or None where all are 1.
        mask: Which rows exist at all (any value or past covariate), shape (B, L + K) bool, or None where all do.
        past: Covariates known up to now, shape (B, L + K, P); only the first L rows may be read.
        future: Covariates known in advance, calendar included, shape (B, L + K, F).
        static: Facts of the series, shape (B, S).
        clock: Time of each row in whole reference periods since 1970, shape (B, L + K) int64, or None.
        series: Index of each window's series, shape (B,) int64.
        start: Row of each window's first value in its series, shape (B,) int64.
    """

    values: Tensor
    lookback: int
    observed: Tensor | None = None
    gaps: Tensor | None = None
    mask: Tensor | None = None
    past: Tensor | None = None
    future: Tensor | None = None
    static: Tensor | None = None
    clock: Tensor | None = None
    series: Tensor | None = None
    start: Tensor | None = None

    @property
    def horizon(self) -> int:
        """Rows to forecast, K."""
        return self.values.shape[1] - self.lookback

    @property
    def target(self) -> Tensor:
        """The rows to forecast, shape (B, K, C)."""
        return self.values[:, self.lookback :]

    @property
    def target_observed(self) -> Tensor | None:
        """Which of them exist, shape (B, K, C), or None where all do."""
        return None if self.observed is None else self.observed[:, self.lookback :]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the same batch on another device (Lightning calls this)."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def take(self, index: list[int]) -> Self:
        """Return some of the windows, in the order of `index`."""
        return replace(
            self, **{f.name: v[index] for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        )

    def pin_memory(self) -> Self:
        """Return the same batch in pinned memory (a data loader calls this)."""
        return replace(
            self,
            **{f.name: v.pin_memory() for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)},
        )

    def __len__(self) -> int:
        """Return the number of windows."""
        return self.values.shape[0]
