"""Electricity transformer temperature: two transformers, hourly and every 15 minutes, two years."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from mambats.data.split import Borders
from mambats.formats.error import DataError
from mambats.formats.roles import Roles
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate

URL = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/"
CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


def _record(name: str, sha256: str, size: int | None) -> SourceRecord:
    return SourceRecord(
        name=name,
        file=f"{name}.csv",
        url=f"{URL}{name}.csv",
        sha256=sha256,
        bytes=size,
        licence="CC BY-ND 4.0 (pass on unchanged only)",
        citation="Zhou et al., Informer, AAAI 2021",
        units="six loads as published, OT oil temperature in °C",
    )


RECORDS = {
    record.name: record
    for record in (
        _record("ETTh1", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066", 2_589_657),
        _record("ETTh2", "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b", 2_417_960),
        _record("ETTm1", "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e", 10_360_719),
        _record("ETTm2", "db973ca252c6410a30d0469b13d696cf919648d0f3fd588c60f03fdbdbadd1fd", None),
    )
}
# 12, 4 and 4 "months" of 30 days; the rows after them are never used.
# Source: Time-Series-Library, data_provider/data_loader.py (border1s, border2s).
HOURLY = Borders(12 * 30 * 24, 16 * 30 * 24, 20 * 30 * 24)
QUARTERLY = Borders(4 * HOURLY.train, 4 * HOURLY.val, 80 * 30 * 24)


class ETT:
    """One of the four ETT-small files, with the published borders.

    Args:
        name: Which file: h is hourly (17,420 rows), m every 15 minutes (69,680 rows).
        root: Folder that holds `<name>.csv` or `.csv.gz`, or None for MAMBATS_DATA, else a download.
    """

    def __init__(self, name: Literal["ETTh1", "ETTh2", "ETTm1", "ETTm2"] = "ETTh1", root: str | None = None) -> None:
        if name not in RECORDS:
            raise DataError(f"ETT has no file {name!r}: choose one of {', '.join(RECORDS)}.")
        self.name = name
        self.root = root

    @property
    def record(self) -> SourceRecord:
        """The published file."""
        return RECORDS[self.name]

    @property
    def borders(self) -> Borders:
        """Published borders of train, validation and test."""
        return HOURLY if self.name.startswith("ETTh") else QUARTERLY

    def recordings(self) -> list[Recording]:
        """Return one recording of seven channels."""
        from mambats.formats.table import read_table

        [recording] = read_table(locate(self.record, self.root), Roles(time="date", targets=CHANNELS))
        return [replace(recording, name=self.name)]
