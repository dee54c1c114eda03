"""From a panel to lanes: scale with training statistics, mark or fill what is missing, add the calendar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mambats.data.calendar import calendar_features
from mambats.data.missing import Missing, existing_rows, fill_forward, refuse_missing
from mambats.data.panel import Block, Float32, Panel
from mambats.data.windows import Lane, Lanes
from mambats.formats.error import DataError
from mambats.scale import Scaler

Numbers = npt.NDArray[np.int64]

# Columns below this size are scaled once into memory; larger ones stay on disk and are scaled batch by batch, which
# halves the engine's rate (measured at 512/96) and costs no memory.
IN_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class Scalers:
    """Scalers of each part, fitted on training rows only.

    Args:
        target: Of the targets.
        past: Of the past covariates, or None.
        future: Of the future covariates without the calendar, or None.
        static: Of the facts, fitted over the series, or None.
    """

    target: Scaler
    past: Scaler | None = None
    future: Scaler | None = None
    static: Scaler | None = None


def fit_scalers(panel: Panel, train_ends: Numbers) -> Scalers:
    """Fit on the rows before `train_ends` (series,) of each series."""
    return Scalers(
        _fit(panel.target, panel, train_ends),
        panel.past and _fit(panel.past, panel, train_ends),
        panel.future and _fit(panel.future, panel, train_ends),
        panel.static and Scaler.fit(panel.static.values, None, panel.static.names),
    )


def reference_period(panel: Panel) -> int:
    """Return the median time between two rows of one series, in nanoseconds.

    Raises:
        DataError: If no series has two rows.
    """
    steps = _steps(panel)
    inside = np.delete(steps, panel.offsets[1:-1] - 1) if len(panel) > 1 else steps
    if inside.size == 0:
        raise DataError(f"{panel.name}: no series has two rows, so there is no time step. Give longer series.")
    return int(np.median(inside))


def row_gaps(panel: Panel, period_ns: int) -> Float32 | None:
    """Return time since the previous row in periods, shape (rows,), 1 at a series' start; None if all are 1."""
    steps = _steps(panel)
    steps[panel.offsets[1:-1] - 1] = period_ns
    if np.all(steps == period_ns):
        return None
    gaps = np.ones(len(panel.stamps), dtype=np.float32)
    gaps[1:] = steps / period_ns
    return gaps


def prepare(
    panel: Panel,
    scalers: Scalers,
    period_ns: int,
    *,
    calendar: Sequence[str] = (),
    missing: Missing = "absent",
    in_memory: int = IN_MEMORY,
    clock: bool = True,
) -> Lanes:
    """Make what windows are cut from.

    Args:
        panel: Series in their own units.
        scalers: Fitted on training rows.
        period_ns: Reference period of the gaps, nanoseconds.
        calendar: Calendar features to append to the future covariates.
        missing: What becomes of values that were not measured.
        clock: Give windows their clock.
        in_memory: Scale columns up to this many bytes at once, larger ones on the way out.

    Raises:
        DataError: If values are missing where that is refused.
    """
    refuse_missing(panel, ("target", "past", "future") if missing == "refuse" else ("future",))
    absent = missing == "absent"
    static = panel.static and scalers.static and _scaled(panel.static.values, scalers.static).T.copy()
    return Lanes(
        panel.offsets,
        _lane(panel, panel.target, scalers.target, in_memory, filled=not absent),
        observed=panel.observed,
        gaps=row_gaps(panel, period_ns),
        mask=existing_rows(panel) if absent else None,
        past=panel.past and scalers.past and _lane(panel, panel.past, scalers.past, in_memory, filled=True),
        future=_future(panel, scalers, calendar, in_memory),
        static=static,
        stamps=panel.stamps if clock else None,
        period_ns=period_ns,
    )


def _fit(block: Block, panel: Panel, train_ends: Numbers) -> Scaler:
    # Only the scaler's inputs are gathered; a single series is passed as a view.
    cuts = [block.cut(slice(int(a), int(a + n))) for a, n in zip(panel.offsets[:-1], train_ends, strict=True)]
    values = cuts[0].values if len(cuts) == 1 else np.concatenate([cut.values for cut in cuts], axis=1)
    flags = [cut.observed for cut in cuts if cut.observed is not None]
    observed = (flags[0] if len(flags) == 1 else np.concatenate(flags, axis=1)) if flags else None
    try:
        return Scaler.fit(values, observed, block.names)
    except ValueError as error:
        raise DataError(f"{panel.name}: {error}") from error


def _steps(panel: Panel) -> Numbers:
    return np.diff(panel.stamps)


def _lane(panel: Panel, block: Block, scaler: Scaler, in_memory: int, *, filled: bool) -> Lane:
    values = fill_forward(block, panel.offsets) if filled else block.values
    if values.nbytes <= in_memory:
        return Lane(_scaled(values, scaler))
    return Lane(values, scaler.mean.numpy(), scaler.scale.numpy(), sparse=block.observed is not None)


def _scaled(values: Float32, scaler: Scaler) -> Float32:
    """Scale columns (C, rows) into new memory, 0 where not observed."""
    scaled = np.empty_like(values)
    for out, column, mean, scale in zip(scaled, values, scaler.mean.numpy(), scaler.scale.numpy(), strict=True):
        np.subtract(column, mean, out=out)
        out /= scale
        np.nan_to_num(out, copy=False, nan=0.0)
    return scaled


def _future(panel: Panel, scalers: Scalers, calendar: Sequence[str], in_memory: int) -> Lane | None:
    features = Lane(calendar_features(panel.stamps, calendar)) if calendar else None
    if panel.future is None or scalers.future is None:
        return features
    known = _lane(panel, panel.future, scalers.future, in_memory, filled=False)
    return known if features is None else _joined(known, features.values)


def _joined(known: Lane, features: Float32) -> Lane:
    values = np.concatenate([known.values, features])
    if known.mean is None or known.scale is None:
        return Lane(values)
    rest = np.zeros(len(features), np.float32)
    return Lane(values, np.concatenate([known.mean, rest]), np.concatenate([known.scale, rest + 1]))
