"""A year of hourly temperatures of two cities, out of the vega_datasets wheel: real data without a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.roles import Roles
from mambats.series import Recording, Stream
from mambats_datasets.source import NotFoundError, SourceRecord, verify


def _record(city: str, file: str, sha256: str, size: int) -> SourceRecord:
    return SourceRecord(
        name=f"VegaTemperature ({city})",
        file=file,
        url="https://github.com/altair-viz/vega_datasets",
        sha256=sha256,
        bytes=size,
        licence="package BSD-3; it states no licence of the file",
        citation="vega_datasets 0.9.0",
        units="°F",
        packaged="vega_datasets",
    )


RECORDS = {
    "seattle": _record(
        "Seattle", "seattle-temps.csv", "c220666521ff4bec4ffb6f0d9acfdc5c1056564b1aad6f78d3b06aa0a0c8b085", 192_707
    ),
    "san_francisco": _record(
        "San Francisco", "sf-temps.csv", "3f91699707cfed43ef551394bebef4c2ebe5505157b9be7bff9558eea2fbaaec", 218_985
    ),
}


class VegaTemperature:
    """Hourly temperatures of Seattle and San Francisco, 2010, 8,759 rows each (a summer-time hour is missing).

    Args:
        layout: `channels` gives one recording with a channel a city, `series` a recording a city with one channel.
    """

    name = "vega_temperature"

    def __init__(self, layout: Literal["channels", "series"] = "channels") -> None:
        if layout not in ("channels", "series"):
            raise DataError(f"layout is {layout!r}: choose channels or series.")
        self.layout = layout

    def recordings(self) -> list[Recording]:
        """Return one recording of two channels, or two recordings of one."""
        streams = {city: _read(record) for city, record in RECORDS.items()}
        if self.layout == "series":
            return [Recording(city, {"target": stream}) for city, stream in streams.items()]
        first = streams["seattle"]
        values = np.concatenate([stream.values for stream in streams.values()], axis=1, dtype=np.float64)
        return [Recording(self.name, {"target": Stream(first.stamps, values, tuple(streams), unit="°F")})]


def _read(record: SourceRecord) -> Stream:
    from mambats.formats.table import read_table

    spec = importlib.util.find_spec("vega_datasets")
    if spec is None or not spec.submodule_search_locations:
        raise NotFoundError(f"{record.name}: vega_datasets is not installed. Run: pip install 'mambats[demo]'")
    path = Path(spec.submodule_search_locations[0]) / "_data" / record.file
    if not path.is_file():
        raise NotFoundError(f"{record.name}: {path} is missing. Reinstall vega_datasets (0.9.0 carries it).")
    verify(path, record)
    [recording] = read_table(path, Roles(time="date", targets=("temp",)), frequency="1h")
    target = recording.streams["target"]
    return Stream(target.stamps, target.values, ("temperature",), target.observed, unit="°F")
