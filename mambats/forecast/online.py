"""One uninterrupted run over consecutive windows: the way a streaming model meets a split."""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor

from mambats.forecast.model import Forecaster, ForecasterState, Rows
from mambats.series import Window


class OnlineRun:
    """Forecast windows in order with one carried state a series, as a robot would, row after row.

    The first window of a series warms the state on its own lookback; each later window brings only the rows that
    are new, so nothing is read twice and nothing is forgotten. Every row is asked for a forecast, so every row is a
    token: unobserved ones are query tokens.

    Args:
        model: A streaming forecaster.
    """

    def __init__(self, model: Forecaster) -> None:
        self.model = model
        self.state: ForecasterState | None = None
        self.series: int | None = None
        self.end = 0

    @torch.no_grad()
    def forecast(self, window: Window) -> Tensor:
        """Forecast after the lookback of each window: (B, K, C[, Q]).

        Raises:
            ValueError: If the batch does not say which series and row its windows start at.
        """
        if window.series is None or window.start is None:
            raise ValueError("the windows carry no series and start: an online run needs them to know what is new.")
        owners, starts = window.series.tolist(), window.start.tolist()
        parts: list[Tensor] = []
        for owner, group in groupby(range(len(owners)), key=lambda i: owners[i]):
            parts.extend(self._forecast_series(window, owner, starts, list(group)))
        return torch.cat(parts)

    def _forecast_series(self, window: Window, owner: int, starts: list[int], index: list[int]) -> list[Tensor]:
        parts: list[Tensor] = []
        ends = [starts[i] + window.lookback for i in index]
        if self.series != owner or not 0 < ends[0] - self.end <= window.lookback or self.state is None:
            self.series, self.end = owner, starts[index[0]]
            self.state = self.model.init_state(1, window.values.shape[2])
        new = [end - before for end, before in zip(ends, [self.end, *ends[:-1]], strict=True)]
        if min(new) < 1 or max(new) > window.lookback:
            raise ValueError(f"windows of series {owner} are not in order from row {self.end}: sort them by start.")
        rows = _join(window, index, new)
        at = torch.tensor(new, device=window.values.device).cumsum(0) - 1
        out, self.state = self.model.roll(rows, self.state, at)
        self.end = ends[-1]
        parts.append(out[0])
        return parts


def _join(window: Window, index: list[int], new: list[int]) -> Rows:
    """Return the new rows of consecutive windows as one sequence (1, sum of new, ...)."""

    def join(value: Tensor | None) -> Tensor | None:
        if value is None:
            return None
        return torch.cat([value[i, window.lookback - n : window.lookback] for i, n in zip(index, new, strict=True)])[
            None
        ]

    values = join(window.values)
    future = join(window.future)
    if future is not None and window.future is not None:
        # The windows follow each other, so only the last one's horizon lies beyond the joined rows.
        future = torch.cat([future, window.future[index[-1:], window.lookback :]], 1)
    static = None if window.static is None else window.static[index[:1]]
    if values is None:
        raise ValueError("the windows carry no values.")
    return Rows(
        values, join(window.gaps), join(window.observed), None, join(window.past), future, static, join(window.clock)
    )
