"""A short NAB series with two labelled windows, and one without a label."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path


def fake(folder: Path, rows: int = 60, name: str = "nyc_taxi") -> Path:
    """Write `<name>.csv` and `combined_windows.json`: rows 10 to 12 and 40 to 44 are anomalous. Return the series."""
    folder.mkdir(parents=True, exist_ok=True)
    times = [datetime(2014, 7, 1) + timedelta(minutes=30 * row) for row in range(rows)]
    path = folder / f"{name}.csv"
    lines = ["timestamp,value", *(f"{at:%Y-%m-%d %H:%M:%S},{100 + row % 48}" for row, at in enumerate(times))]
    path.write_text("\n".join(lines) + "\n")
    labels = [[f"{times[first]}.000000", f"{times[last]}.000000"] for first, last in ((10, 12), (40, 44))]
    held = {"artificialNoAnomaly/art_flatline.csv": [], f"realKnownCause/{name}.csv": labels}
    (folder / "combined_windows.json").write_text(json.dumps(held, indent=4))
    return path
