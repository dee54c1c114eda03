"""A short x-IMU3 log: deg/s, g and uT, named in the header as the device's software names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mambats_datasets.fakes.body import GRAVITY, rocking

HEADER = ",".join(
    [
        "Time (s)",
        *(f"Gyroscope {axis} (deg/s)" for axis in "XYZ"),
        *(f"Accelerometer {axis} (g)" for axis in "XYZ"),
        *(f"Magnetometer {axis} (uT)" for axis in "XYZ"),
    ]
)


def fake(folder: Path, rows: int = 200) -> Path:
    """Write `sensor_data.csv` and return its path."""
    body = rocking(rows, 100, start=0)
    values = np.hstack((np.rad2deg(body.rate), body.force / GRAVITY, body.field))
    lines = [HEADER]
    for stamp, row in zip(body.stamps.tolist(), values, strict=True):
        lines.append(",".join([f"{stamp / 1e9:.9g}", *(f"{v:.7g}" for v in row)]))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sensor_data.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
