"""A short drive in the three files of GTSAM's example: accelerations first, a first `dt` that is a time."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from mambats_datasets.fakes.body import rocking

NAMES = (
    "BodyPtx BodyPty BodyPtz BodyPrx BodyPry BodyPrz AccelerometerSigma GyroscopeSigma IntegrationSigma "
    "AccelerometerBiasSigma GyroscopeBiasSigma AverageDeltaT"
)
FIGURES = "0.5 0 0.25 0 0 0.1 0.01 0.000175 0 0.000167 2.91e-006 0.01"


def fake(folder: Path, rows: int = 400) -> Path:
    """Write the drive and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    body = rocking(rows, 100, start=46_534_478_375_790)
    seconds = [f"{stamp // 10**9}.{stamp % 10**9:09d}" for stamp in body.stamps.tolist()]
    periods = [seconds[0], *(repr(float(v)) for v in np.diff(body.stamps) / 1e9)]
    lines = ["Time dt accelX accelY accelZ omegaX omegaY omegaZ"]
    for second, period, force, rate in zip(seconds, periods, body.force, body.rate, strict=True):
        lines.append(" ".join([second, period, *(repr(float(v)) for v in (*force, *rate))]))
    text = "\n".join(lines) + "\n"
    (folder / "KittiEquivBiasedImu.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    fixes = [f"{second}000428,{row}.5,{-row},0.25" for row, second in enumerate(seconds[::100])]
    (folder / "KittiGps_converted.txt").write_text("\n".join(["Time,X,Y,Z", *fixes]) + "\n")
    (folder / "KittiEquivBiasedImu_metadata.txt").write_text(f"{NAMES}\n{FIGURES}\n")
    return folder
