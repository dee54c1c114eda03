"""Units that sensor files use, and the factor to the unit that streams have (SI; microtesla for magnetic fields)."""

from __future__ import annotations

import re

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.inertial import STANDARD_GRAVITY

TURN = np.pi / 180
#: Unit in a file: unit of the stream, factor. Spellings are made plain first (`plain`).
UNITS: dict[str, tuple[str, float]] = {
    "": ("", 1.0),
    "rad/s": ("rad/s", 1.0),
    "deg/s": ("rad/s", TURN),
    "mdeg/s": ("rad/s", TURN / 1000),
    "rpm": ("rad/s", np.pi / 30),
    "rad": ("rad", 1.0),
    "m/s^2": ("m/s^2", 1.0),
    "g": ("m/s^2", STANDARD_GRAVITY),
    "mg": ("m/s^2", STANDARD_GRAVITY / 1000),
    "uT": ("uT", 1.0),
    "nT": ("uT", 1e-3),
    "mT": ("uT", 1e3),
    "T": ("uT", 1e6),
    "Gauss": ("uT", 100.0),
    "mGauss": ("uT", 0.1),
    "m": ("m", 1.0),
    "cm": ("m", 0.01),
    "mm": ("m", 1e-3),
    "km": ("m", 1e3),
    "ft": ("m", 0.3048),
    "m/s": ("m/s", 1.0),
    "km/h": ("m/s", 1 / 3.6),
    "kn": ("m/s", 1852 / 3600),
    "Pa": ("Pa", 1.0),
    "hPa": ("Pa", 100.0),
    "mbar": ("Pa", 100.0),
    "kPa": ("Pa", 1e3),
    "N": ("N", 1.0),
    "V": ("V", 1.0),
    "A": ("A", 1.0),
    "degC": ("degC", 1.0),
    "deg": ("deg", 1.0),  # latitude and longitude stay in degrees
    "%": ("%", 1.0),
}
_SPELLINGS = {
    "°/s": "deg/s", "dps": "deg/s", "deg s^-1": "deg/s", "rad s^-1": "rad/s", "m/s²": "m/s^2", "m s^-2": "m/s^2",
    "m/s2": "m/s^2", "m/s/s": "m/s^2", "µT": "uT", "μT": "uT", "m s^-1": "m/s", "°C": "degC", "°": "deg", "-": "",
}  # fmt: skip


def plain(unit: str) -> str:
    """Return the one spelling of a unit that is used here."""
    unit = unit.strip()
    return _SPELLINGS.get(unit, unit)


def to_si(unit: str, where: str) -> tuple[str, float]:
    """Return the unit of the stream and the factor to it.

    Raises:
        DataError: If the unit is not known; names those that are.
    """
    if (known := UNITS.get(plain(unit))) is None:
        raise DataError(f"{where}: unit {unit!r} is not known. Choose of {', '.join(name for name in UNITS if name)}.")
    return known


def unit_in_name(name: str) -> str | None:
    """Return the unit that a column's name ends with, `Gyroscope X (deg/s)` or `wx [rad s^-1]`; None where none."""
    found = re.search(r"[(\[]([^()\[\]]*)[)\]]\s*$", name)
    return plain(found[1]) if found else None
