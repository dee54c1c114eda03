"""Air in Beijing: hourly fine dust with real gaps, and the weather beside it, five years."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.roles import Reading
from mambats.series import Recording, Stream
from mambats_datasets.source import SourceRecord, locate

if TYPE_CHECKING:
    from mambats.formats.columns import Columns

RECORD = SourceRecord(
    name="BeijingPM25",
    file="beijing_pm25.csv",
    url="https://archive.ics.uci.edu/static/public/381/beijing+pm2+5+data.zip",
    member="PRSA_data_2010.1.1-2014.12.31.csv",
    sha256="4127f868775e31b3956522adc0ec75af8937dde6a3896e8beed3a376c6d27f1c",
    bytes=2_010_494,
    licence="CC BY 4.0",
    citation="Liang et al., Assessing Beijing's PM2.5 pollution, Proc. R. Soc. A, 2015; UCI 381",
    units="pm2.5 µg/m³; DEWP, TEMP °C; PRES hPa; Iws m/s cumulated; Is, Ir hours cumulated",
)
WEATHER = ("DEWP", "TEMP", "PRES", "Iws", "Is", "Ir")
WINDS = ("NE", "NW", "SE", "cv")


class BeijingPM25:
    """Hourly PM2.5 at the US embassy, 2010 to 2014: 43,824 rows, of which 2,067 were not measured.

    Args:
        root: Folder that holds `beijing_pm25.csv` or `.csv.gz`, or None for MAMBATS_DATA, else a download.
        past: Weather columns to give as past covariates (`wind` for the wind's direction, one column each); an empty
            list leaves dust alone, so that a row without dust does not exist.
    """

    name = "beijing_pm25"
    record = RECORD

    def __init__(self, root: str | None = None, past: Sequence[str] = (*WEATHER, "wind")) -> None:
        unknown = [column for column in past if column not in (*WEATHER, "wind")]
        if unknown:
            raise DataError(f"past names {unknown}: choose of {', '.join(WEATHER)}, wind.")
        self.root = root
        self.past = past

    def recordings(self) -> list[Recording]:
        """Return one recording with stream `target` (pm2.5) and, unless left out, `past`."""
        from mambats.formats.columns import open_columns

        columns = open_columns(locate(RECORD, self.root), Reading()).collect()
        stamps = _stamps(columns)
        dust = columns.numbers("pm2.5")[:, None]
        streams = {"target": Stream(stamps, dust, ("pm2.5",), np.isfinite(dust), unit="µg/m³")}
        if self.past:
            names, values = self._weather(columns)
            streams["past"] = Stream(stamps, values, names)
        return [Recording(self.name, streams)]

    def _weather(self, columns: Columns) -> tuple[tuple[str, ...], np.ndarray]:
        plain = [name for name in self.past if name != "wind"]
        table = {name: columns.numbers(name) for name in plain}
        if "wind" in self.past:
            direction = columns.column("cbwd").to_numpy()
            table |= {f"wind_{wind}": (direction == wind).astype(np.float64) for wind in WINDS}
        return tuple(table), np.stack(list(table.values()), axis=1)


def _stamps(columns: Columns) -> np.ndarray:
    import polars as pl

    year, month, day, hour = (columns.column(name).cast(pl.Int64) for name in ("year", "month", "day", "hour"))
    parts = pl.DataFrame([year, month, day, hour])
    return (
        parts.select(pl.datetime("year", "month", "day", "hour", time_unit="ns")).to_series().to_physical().to_numpy()
    )
