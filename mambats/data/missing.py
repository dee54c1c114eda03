"""What becomes of values that were not measured."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from mambats.data.panel import Block, Float32, Panel
from mambats.formats.error import DataError
from mambats.series import Flags

Missing = Literal["absent", "forward_fill", "refuse"]
MISSING: tuple[Missing, ...] = ("absent", "forward_fill", "refuse")


def fill_forward(block: Block, offsets: npt.NDArray[np.int64]) -> Float32:
    """Carry the last measured value of each series on, NaN before its first; causal.

    Args:
        block: Values (C, rows).
        offsets: First row of each series, then the number of rows.

    Returns:
        A filled copy, shape (C, rows), or the values themselves where nothing is missing.
    """
    if block.observed is None:
        return block.values
    first = np.repeat(offsets[:-1], np.diff(offsets))
    filled = np.empty_like(block.values)
    for row, values, observed in zip(filled, block.values, block.observed, strict=True):
        source = np.maximum.accumulate(np.where(observed, np.arange(len(values)), first))
        row[:] = values[source]
    return filled


def existing_rows(panel: Panel) -> Flags | None:
    """Say which rows hold any target or past covariate, shape (rows,), or None where all do."""
    blocks = [block for block in (panel.target, panel.past) if block is not None]
    if any(block.observed is None for block in blocks):
        return None
    exists = np.zeros(len(panel.stamps), dtype=np.bool_)
    for block in blocks:
        if block.observed is not None:
            exists |= block.observed.any(axis=0)
    return None if exists.all() else exists


def refuse_missing(panel: Panel, parts: tuple[str, ...]) -> None:
    """Refuse values that were not measured.

    Raises:
        DataError: Naming the first one by part, column, series and row.
    """
    for part in parts:
        block = panel.blocks.get(part)
        if block is None or block.observed is None:
            continue
        column, row = (int(place[0]) for place in np.nonzero(~block.observed))
        series = int(np.searchsorted(panel.offsets, row, side="right")) - 1
        count = int((~block.observed).sum())
        advice = (
            "Covariates known in advance must be known: fill them, or list the column under `past`."
            if part == "future"
            else "Set `missing` to absent or forward_fill, or repair the data."
        )
        raise DataError(
            f"{panel.name}: {part} column {block.names[column]!r} of series {panel.ids[series]!r} has no value in row "
            f"{row - int(panel.offsets[series]) + 1} ({count} such values). {advice}"
        )
