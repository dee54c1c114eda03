"""Where histories are cut off to ask what is left: as the official test was made, on engines that ran to failure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cuts:
    """Cut a case at random rows whose truth lies in [low, high], each value of the truth as likely.

    The official test of C-MAPSS FD001 asks each engine once with 7 to 145 cycles left, 76 on average: uniform draws
    from that range have that mean.

    Args:
        low: Least truth at a cut.
        high: Largest.
        draws: Cuts of each case.
        least: Rows that a cut leaves to read, at least.
        seed: Of the draws.

    Raises:
        ValueError: If the range is empty or a number is below 1.
    """

    low: float = 7
    high: float = 145
    draws: int = 10
    least: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.low <= self.high or min(self.draws, self.least) < 1:
            raise ValueError(
                f"low is {self.low}, high {self.high}, draws {self.draws}, least {self.least}: need low <= high and "
                "at least 1 draw and 1 row."
            )

    def rows(self, target: Tensor, case: int) -> Tensor:
        """Return rows of a case, shape (draws,) int64, with repeats; empty where no row qualifies.

        Args:
            target: Truth at each row, shape (T,), NaN where none is known.
            case: Number of the case, so that each is cut elsewhere and always at the same rows.
        """
        place = torch.arange(len(target), device=target.device)
        fit = (target >= self.low) & (target <= self.high) & (place >= self.least - 1)
        rows = fit.nonzero()[:, 0]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + case)
        chosen = torch.randint(max(1, len(rows)), (self.draws if len(rows) else 0,), generator=generator)
        return rows[chosen.to(rows.device)]
