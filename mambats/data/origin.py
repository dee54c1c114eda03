"""The forecast nobody can score yet: the end of each series and the rows after it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mambats.data.panel import Block, Panel
from mambats.formats.error import DataError

Numbers = npt.NDArray[np.int64]


def forecast_panel(panel: Panel, lookback: int, horizon: int, period_ns: int) -> Panel:
    """Cut the last `lookback` rows of each series and lay `horizon` rows without targets behind them.

    Where covariates are known in advance, rows at the end that hold no target are the rows to forecast, and they
    must reach to the horizon; else times go on by the reference period.

    Raises:
        DataError: If a series is too short, or its future covariates end before the horizon.
    """
    pieces = [_piece(panel, series, lookback, horizon, period_ns) for series in range(len(panel))]
    stamps = np.concatenate([stamps for _, stamps in pieces])
    rows = np.concatenate([rows for rows, _ in pieces])
    length = lookback + horizon
    late = np.arange(len(rows)) % length >= lookback
    return Panel(
        panel.name,
        panel.ids,
        stamps,
        np.arange(len(panel) + 1, dtype=np.int64) * length,
        _pick(panel.target, rows, late),
        past=panel.past and _pick(panel.past, rows, late),
        future=panel.future and _pick(panel.future, rows, np.zeros_like(late)),
        static=panel.static,
    )


def origin(panel: Panel, series: int) -> int:
    """Return the row (inside the series) of the first value to forecast."""
    rows = panel.rows(series)
    if panel.future is None or panel.observed is None:
        return rows.stop - rows.start
    present = np.flatnonzero(panel.observed[:, rows].any(axis=0))
    return int(present[-1]) + 1 if present.size else 0


def _piece(panel: Panel, series: int, lookback: int, horizon: int, period_ns: int) -> tuple[Numbers, Numbers]:
    rows, now = panel.rows(series), origin(panel, series)
    if now < lookback:
        raise DataError(
            f"{panel.name}: series {panel.ids[series]!r} has {now} rows to read, lookback is {lookback}. "
            "Give a longer series or a shorter lookback."
        )
    known = np.arange(rows.start + now - lookback, min(rows.stop, rows.start + now + horizon))
    short = lookback + horizon - len(known)
    if short and panel.future is not None:
        raise DataError(
            f"{panel.name}: the future covariates of series {panel.ids[series]!r} are known for "
            f"{horizon - short} rows after its last target, horizon is {horizon}. "
            "Append rows with these covariates and empty targets, or forecast fewer rows."
        )
    beyond = panel.stamps[known[-1]] + period_ns * np.arange(1, short + 1)
    return np.concatenate([known, np.full(short, -1)]), np.concatenate([panel.stamps[known], beyond])


def _pick(block: Block, rows: Numbers, hidden: npt.NDArray[np.bool_]) -> Block:
    values = block.values[:, rows]
    hidden = hidden | (rows < 0)
    values[:, hidden] = np.nan
    observed = np.isfinite(values)
    return Block(block.names, values, None if observed.all() else observed)
