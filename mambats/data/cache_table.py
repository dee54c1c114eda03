"""A table file to a cache, one column in memory at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mambats.data.cache import finish, origin
from mambats.formats.columns import Columns, open_columns
from mambats.formats.roles import Reading
from mambats.formats.store.stage import staged
from mambats.formats.table import Layout, fact, find_layout, take

if TYPE_CHECKING:
    from mambats.data.table import Table


def cache_table(table: Table, folder: Path) -> None:
    """Write the panel of a table file to a folder.

    Text is first copied to Parquet, row group by row group, because reading one column of a CSV file means reading
    all of it. Memory: the time column, the order of the rows, and one column.

    Args:
        table: Which file, and what its columns are for.
        folder: New folder.

    Raises:
        DataError: If the file or a cell cannot be used, or the folder cannot be written.
    """
    reading = table.reading or Reading()
    columns = open_columns(Path(table.path), reading)
    with staged(folder) as stage, tempfile.TemporaryDirectory(dir=stage) as spill:
        columns = _by_column(columns, Path(spill))
        layout = find_layout(columns, table.roles, table.frequency, reading.duplicates)
        np.save(stage / "stamps.npy", np.concatenate(layout.stamps))
        np.save(stage / "offsets.npy", np.cumsum([0, *(len(rows) for rows in layout.rows)], dtype=np.int64))
        order = np.concatenate(layout.rows)
        names = {part: names for part, names in layout.parts.items() if names}
        for part in names:
            _write_part(stage, columns, layout, part, order)
        facts = {"name": table.name, "ids": layout.ids, "made_from": origin(table), "state": table.state()}
        finish(stage, facts | {"borders": None}, names)


def _by_column(columns: Columns, spill: Path) -> Columns:
    if not isinstance(columns.frame, pl.LazyFrame) or columns.path.suffix == ".parquet":
        return columns
    copy = spill / "columns.parquet"
    columns.sink(copy)
    return Columns(columns.path, pl.scan_parquet(copy))


def _write_part(stage: Path, columns: Columns, layout: Layout, part: str, order: np.ndarray) -> None:
    names = layout.parts[part]
    width = len(layout.ids) if part == "static" else len(order)
    values = np.lib.format.open_memmap(stage / f"{part}.npy", "w+", np.float32, (len(names), width))
    complete = True
    for row, name in enumerate(names):
        column = columns.numbers(name)
        if part == "static":
            where = str(columns.path)
            values[row] = [
                fact(column[r[r >= 0]], name, i, where) for i, r in zip(layout.ids, layout.rows, strict=True)
            ]
        else:
            taken = take(column, order)
            taken[~np.isfinite(taken)] = np.nan
            values[row] = taken
            complete = complete and bool(np.isfinite(taken).all())
    values.flush()
    if not complete:
        _write_observed(stage, part, values)


def _write_observed(stage: Path, part: str, values: np.ndarray) -> None:
    observed = np.lib.format.open_memmap(stage / f"{part}_observed.npy", "w+", np.bool_, values.shape)
    for row, column in zip(observed, values, strict=True):
        np.isfinite(column, out=row)
    observed.flush()
