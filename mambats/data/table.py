"""Any CSV or Parquet file as a source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mambats.formats.roles import Reading, Roles
from mambats.series import Recording

WHOLE, END = 256 * 2**20, 2**20


@dataclass(frozen=True)
class Table:
    """A table file, wide (a column a channel) or long (`unique_id, ds, y` and further columns).

    Nothing but the path is needed: the time column is found by type, numeric columns become targets. For a file that
    does not fit in memory wrap it: `Cached("cache/big", Table("big.parquet"))`.

    Args:
        path: CSV (also gzipped) or Parquet.
        time: Time column; None finds it by type.
        id: Column that names the series; None takes `unique_id` if there is one.
        targets: Columns to forecast; None takes `y` of a long table, else every numeric column left over.
        past: Covariates known up to now; None takes what is left over in a long table, else nothing.
        future: Covariates known in advance.
        static: Facts of a series.
        frequency: Grid to lay the rows on (`15m`, `1h`, `1d`): missing times become rows without values, so that
            horizons stay on the grid. None keeps the rows as they are.
        reading: How the text is read.
    """

    path: str
    time: str | None = None
    id: str | None = None
    targets: Sequence[str] | None = None
    past: Sequence[str] | None = None
    future: Sequence[str] = ()
    static: Sequence[str] = ()
    frequency: str | None = None
    reading: Reading | None = None

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return Path(self.path).name.split(".")[0]

    @property
    def roles(self) -> Roles:
        """Which column plays which part."""
        return Roles(self.time, self.id, self.targets, self.past, self.future, self.static)

    def recordings(self) -> list[Recording]:
        """Read the file into one recording a series."""
        from mambats.formats.table import read_table

        return read_table(self.path, self.roles, frequency=self.frequency, reading=self.reading)

    def state(self) -> str | None:
        """Return a checksum of the file as it is now, or None where it is not here.

        Of a file beyond 256 MiB only the size and both ends are read, so that opening its cache stays quick.
        """
        path = Path(self.path)
        if not path.is_file():
            return None
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= WHOLE:
                return hashlib.file_digest(file, "sha256").hexdigest()
            digest = hashlib.sha256(str(size).encode() + file.read(END))
            file.seek(-END, os.SEEK_END)
            digest.update(file.read(END))
        return digest.hexdigest()

    def write_cache(self, folder: Path) -> None:
        """Lay the file out as a panel on disk, one column in memory at a time; `Cached` calls this."""
        from mambats.data.cache_table import cache_table

        cache_table(self, folder)
