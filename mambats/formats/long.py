"""Long tables out: one row a value, to Parquet or CSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from mambats.formats.error import DataError
from mambats.series import Stamps


def write_long(path: Path | str, columns: Mapping[str, Any], stamps: Stamps) -> Path:
    """Write columns of equal length, with times as `ds`, whole or not at all.

    Args:
        path: `.parquet` or `.csv`.
        columns: Arrays or lists by name; `ds` is put after the first.
        stamps: Times of the rows, int64 nanoseconds, shape (n,).

    Returns:
        The path.

    Raises:
        DataError: If the ending is neither.
    """
    file = Path(path)
    frame = pl.DataFrame(dict(columns))
    frame.insert_column(1, pl.Series("ds", stamps).cast(pl.Datetime("ns")))
    if file.suffix not in (".parquet", ".csv"):
        raise DataError(f"{file}: predictions are written to .parquet or .csv. Choose one of these endings.")
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.part")
    try:
        if file.suffix == ".csv":
            frame.write_csv(draft)
        else:
            frame.write_parquet(draft)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return file
