"""NAB's real series with known causes of their anomalies: temperatures, loads, taxis, keys."""

from __future__ import annotations

from collections.abc import Sequence

from mambats.formats.nab import read_nab
from mambats.formats.repair import Choice, Policy
from mambats.series import Recording
from mambats_datasets.source import SourceRecord, locate

URL = "https://raw.githubusercontent.com/numenta/NAB/ea702d75cc2258d9d7dd35ca8e5e2539d71f3140"
#: sha256 and bytes of the series that are known here; others are read unverified.
KNOWN = {
    "ambient_temperature_system_failure": ("230b68ccca20f59d562afd5d24ad52939c9b784386bed0054018358bf9120581", 233_321),
    "cpu_utilization_asg_misconfiguration": (
        "58ba65dc0737cfbac11b51514476d50c438d44011232144bb8d93f392df58f9f",
        539_274,
    ),
    "nyc_taxi": ("d8fa6f7f0734bf5c8be12c52a94e20a82664c397d9dec4449156bd453d32856d", 265_771),
    "rogue_agent_key_updown": ("9797cfef477c13306f7a33874ab4d6cf700f8f2c7e5825a2a5bc02004370909a", 138_333),
}


def _record(file: str, path: str, sha256: str, size: int | None) -> SourceRecord:
    return SourceRecord(
        name="NAB",
        file=f"nab/{file}",
        url=f"{URL}/{path}",
        sha256=sha256,
        bytes=size,
        licence="MIT",
        citation="Lavin and Ahmad, Evaluating real-time anomaly detection algorithms, ICMLA 2015",
        units="as the series has it: degF, %, passengers in half an hour",
    )


def record(series: str) -> SourceRecord:
    """Return the record of a series; its checksum is empty where it is not known."""
    return _record(f"{series}.csv", f"data/realKnownCause/{series}.csv", *KNOWN.get(series, ("", None)))


WINDOWS = _record(
    "combined_windows.json",
    "labels/combined_windows.json",
    "1e1fbc4601321aad8d0f8b3784c8134299379f68f6c1f7777565f8ffd57ab6b1",
    15_359,
)
RECORDS = {series: record(series) for series in KNOWN} | {"windows": WINDOWS}


class NAB:
    """Series at 5 min, 30 min or 1 h; truth `anomaly` is 1 within the labelled windows.

    Args:
        root: Folder that holds `nab/`, or None for MAMBATS_DATA, else a download.
        series: Names of the files in `data/realKnownCause` without `.csv`.
        faults: `repair`: drop and report stamps that repeat or go back, or `refuse` them.
    """

    name = "nab"

    def __init__(
        self, root: str | None = None, series: Sequence[str] = tuple(KNOWN), faults: Choice = "repair"
    ) -> None:
        self.root = root
        self.series = series
        self.policy = Policy.of(faults)

    def recordings(self) -> list[Recording]:
        """Return one recording a series: stream `target` (channel `value`), truth `anomaly`."""
        windows = locate(RECORDS["windows"], self.root)
        paths = [locate(RECORDS.get(series) or record(series), self.root) for series in self.series]
        return [read_nab(path, windows, self.policy) for path in paths]
