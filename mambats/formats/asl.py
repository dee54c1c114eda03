"""Folders of one sensor in the ASL layout: `sensor.yaml` beside `data.csv`, pictures below `data/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mambats.formats.error import DataError
from mambats.formats.repair import Array, Place, Policy, settle_clock
from mambats.formats.seconds import text_to_ns
from mambats.series import ImageStream, Rigid

#: Facts of an IMU by their names in `sensor.yaml`; the units are rad/s and m/s^2, a root of Hz, and Hz.
FACTS = {
    "rate_hz": "rate",
    "gyroscope_noise_density": "gyroscope_noise_density",
    "gyroscope_random_walk": "gyroscope_random_walk",
    "accelerometer_noise_density": "accelerometer_noise_density",
    "accelerometer_random_walk": "accelerometer_random_walk",
}


@dataclass(frozen=True)
class Sensor:
    """What `sensor.yaml` says.

    Args:
        name: Frame id of the sensor.
        mounted: T_BS, shape (4, 4): points of the sensor to the body; None where it is not told.
        facts: Rates and noise densities by name.
        intrinsics: Camera matrix (3, 3) in pixels, or None.
        distortion: k1 k2 p1 p2.
    """

    name: str
    mounted: Array | None = None
    facts: dict[str, float] = field(default_factory=dict[str, float])
    intrinsics: Array | None = None
    distortion: tuple[float, ...] = ()

    @property
    def covariance(self) -> Array | None:
        """Of one IMU sample, (6, 6): noise density squared times rate; None where a fact is missing."""
        names = ("rate", "gyroscope_noise_density", "accelerometer_noise_density")
        if not set(names) <= set(self.facts):
            return None
        rate, gyroscope, accelerometer = (self.facts[name] for name in names)
        return np.diag([gyroscope**2 * rate] * 3 + [accelerometer**2 * rate] * 3)


def read_sensor(folder: Path, name: str) -> Sensor:
    """Read `sensor.yaml` of a folder; an empty record where there is none.

    Raises:
        DataError: If it is no YAML, or a matrix in it has another shape.
    """
    import yaml

    path = folder / "sensor.yaml"
    if not path.is_file():
        return Sensor(name)
    text = path.read_text(encoding="utf-8", errors="replace")
    try:  # the first line is often `%YAML:1.0`, which is OpenCV's, not YAML's
        read: Any = yaml.safe_load("\n".join(line for line in text.splitlines() if not line.startswith("%")))
        facts = {own: float(read[theirs]) for theirs, own in FACTS.items() if theirs in read}
        intrinsics, distortion = _camera(read, path)
        return Sensor(name, _mounted(read, path), facts, intrinsics, distortion)
    except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a sensor's YAML ({type(error).__name__}: {error}). Correct it.") from error


def _mounted(read: Any, path: Path) -> Array | None:
    if "T_BS" not in read:
        return None
    matrix = np.array(read["T_BS"]["data"], dtype=np.float64)
    if matrix.size != 16:
        raise DataError(f"{path}: T_BS has {matrix.size} numbers, needed 16 (4 x 4). Correct it.")
    Rigid.from_matrix("base_link", "sensor", matrix.reshape(4, 4))  # refuses what is no rotation
    return matrix.reshape(4, 4)


def _camera(read: Any, path: Path) -> tuple[Array | None, tuple[float, ...]]:
    if "intrinsics" not in read:
        return None, ()
    model = read.get("distortion_model", "radial-tangential")
    if model not in ("radial-tangential", "radtan", "plumb_bob"):
        raise DataError(f"{path}: distortion_model is {model!r}, known is radial-tangential. Undistort the pictures.")
    fu, fv, cu, cv = (float(v) for v in read["intrinsics"])
    matrix = np.array([[fu, 0, cu], [0, fv, cv], [0, 0, 1]])
    return matrix, tuple(float(v) for v in read.get("distortion_coefficients", ()))


def read_camera(folder: Path, sensor: Sensor, policy: Policy) -> tuple[ImageStream, tuple[str, ...]]:
    """Read a camera's `data.csv` (ns, file name); its pictures stay closed until one is asked for.

    Raises:
        DataError: If the table is damaged, a picture is missing (unless `torn="repair"` leaves it out), or the clock
            does not rise.
    """
    path = folder / "data.csv"
    if not path.is_file():
        raise DataError(f"{path}: no such file. A camera's folder holds data.csv and data/.")
    lines = enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
    rows = [(number, line.split(",")) for number, line in lines if line and not line.startswith("#")]
    for number, cells in rows:
        if len(cells) != 2:
            raise DataError(f"{path}, line {number}: {len(cells)} columns, needed 2: a stamp in ns and a file name.")
    place = Place(str(path), np.array([number for number, _ in rows], dtype=np.int64), "line")
    stamps = text_to_ns(pl.Series([cells[0].strip() for _, cells in rows], dtype=pl.String), "ns", place)
    there = {file.name for file in (folder / "data").iterdir()} if (folder / "data").is_dir() else set[str]()
    names = [cells[1].strip() for _, cells in rows]
    lost = [row for row, name in enumerate(names) if name not in there]
    if lost and policy.torn == "refuse":
        raise DataError(
            f"{place.at(lost[0])}: picture {names[lost[0]]} is not in {folder / 'data'} ({len(lost)} of {len(names)} "
            "are missing). Get them, or leave them out with Policy(torn='repair')."
        )
    repairs = (f"{path}: {len(lost)} rows whose picture is missing, dropped",) if lost else ()
    kept = np.setdiff1d(np.arange(len(names)), lost)
    settled = settle_clock(stamps[kept], place.keep(kept), policy)
    kept = kept[settled.rows]
    pictures = [folder / "data" / names[row] for row in kept.tolist()]
    stream = ImageStream(stamps[kept], pictures, sensor.name, sensor.intrinsics, sensor.distortion)
    return stream, (*repairs, *settled.repairs)
