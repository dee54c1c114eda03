"""What the columns of a table are for: time, series, targets, covariates, static facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mambats.formats.error import DataError

#: Cells that stand for "not measured".
NULLS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?")


@dataclass(frozen=True)
class Reading:
    """How the text of a CSV file is read.

    Args:
        separator: One character, or None to take it from the header line.
        encoding: Text encoding; anything but utf-8 is decoded in memory.
        nulls: Cells that mean "absent".
        duplicates: Two rows of one series with one time stamp: `refuse` them, or keep the `first` or the `last`.
    """

    separator: str | None = None
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = NULLS
    duplicates: str = "refuse"

    def __post_init__(self) -> None:
        """Check the choice."""
        if self.duplicates not in ("refuse", "first", "last"):
            raise DataError(f"duplicates is {self.duplicates!r}: choose refuse, first or last.")


@dataclass(frozen=True)
class Roles:
    """Which column plays which part; None means "find it".

    Args:
        time: Time column. Found by type: dates first, else a rising number in a column named like a time.
        id: Column that names the series of a long table; found under the name `unique_id`.
        targets: Columns to forecast. Default: `y` in a long table, else every numeric column left over.
        past: Covariates known up to now. Default: in a long table with `y` every numeric column left over, else none.
        future: Covariates known in advance.
        static: Facts of a series, one value each.
    """

    time: str | None = None
    id: str | None = None
    targets: Sequence[str] | None = None
    past: Sequence[str] | None = None
    future: Sequence[str] = ()
    static: Sequence[str] = ()

    def check(self, names: Sequence[str], where: str) -> None:
        """Refuse names that the table lacks, and a column with two parts."""
        single = [name for name in (self.time, self.id) if name is not None]
        asked = [*single, *(self.targets or ()), *(self.past or ()), *self.future, *self.static]
        for name in asked:
            if name not in names:
                raise DataError(f"{where}: column {name!r} is missing; the columns are {', '.join(names)}.")
        for name in asked:
            if asked.count(name) > 1:
                raise DataError(f"{where}: column {name!r} was given two parts: name it in one list only.")
