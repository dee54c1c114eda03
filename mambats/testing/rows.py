"""Random sequences for the laws: values, gaps, flags and masks that can be cut, permuted and fed row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Rows:
    """What a mixer or an encoder reads.

    Args:
        x: Values, shape (B, T, C) for an encoder, (B, T, D) for a mixer.
        gaps: Shape (B, T) or None.
        observed: Shape (B, T, C) bool or None; None for a mixer.
        mask: Shape (B, T) bool or None; None for a mixer.
    """

    x: Tensor
    gaps: Tensor | None = None
    observed: Tensor | None = None
    mask: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Change every tensor."""
        gaps, observed, mask = (None if v is None else change(v) for v in (self.gaps, self.observed, self.mask))
        return type(self)(change(self.x), gaps, observed, mask)

    def span(self, start: int, stop: int | None = None) -> Self:
        """Cut out rows start to stop."""
        return self.each(lambda v: v[:, start:stop])

    def forward(self, module: nn.Module, state: Any = None) -> tuple[Tensor, Any]:
        """Run the parallel form."""
        flags = {"observed": self.observed, "mask": self.mask}
        return module(self.x, self.gaps, state=state, **{k: v for k, v in flags.items() if v is not None})

    def step(self, module: Any, t: int, state: Any) -> tuple[Tensor, Any]:
        """Run one row of the recurrent form."""
        row = self.each(lambda v: v[:, t])
        flags = {"observed_t": row.observed, "mask_t": row.mask}
        return module.step(row.x, row.gaps, state=state, **{k: v for k, v in flags.items() if v is not None})


def draw_rows(
    seed: int,
    shape: tuple[int, int, int],
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    gaps: bool = True,
    flags: bool = False,
    kept: float | None = None,
) -> Rows:
    """Draw rows from a seed.

    Args:
        seed: Same seed, same rows, on any device.
        shape: (B, T, C).
        dtype: Of values and gaps.
        device: Where the rows lie.
        gaps: Draw gaps, mostly about 1, some 0 (two sensors at one stamp), some long pauses.
        flags: Draw flags of observed values.
        kept: Share of rows that exist; None draws no mask.
    """
    g = torch.Generator().manual_seed(seed)
    batch, length, _ = shape
    x = torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)
    between = torch.rand(batch, length, generator=g, dtype=torch.float64) * 2
    kind = torch.rand(batch, length, generator=g)
    between = torch.where(kind < 0.1, 0.0, torch.where(kind > 0.9, 20 * between, between)).to(dtype)
    seen = torch.rand(shape, generator=g) < 0.7
    here = torch.rand(batch, length, generator=g) < (1.0 if kept is None else kept)
    drawn = Rows(x, between if gaps else None, seen if flags else None, None if kept is None else here)
    return drawn.each(lambda v: v.to(device))
