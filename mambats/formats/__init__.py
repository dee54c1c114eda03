"""Bytes to recordings and back: one file format a module.

Names are loaded when first used, so that `import mambats.formats` needs no polars.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.formats.bags import read_bag, write_mcap
    from mambats.formats.broad import read_broad
    from mambats.formats.cmapss import read_cmapss
    from mambats.formats.error import DataError
    from mambats.formats.euroc import read_euroc
    from mambats.formats.gtsam_ins import read_gtsam_ins
    from mambats.formats.nab import read_nab
    from mambats.formats.nuscenes import read_nuscenes
    from mambats.formats.opener import open_any
    from mambats.formats.repair import REFUSE, REPAIR, Policy
    from mambats.formats.roles import Reading, Roles
    from mambats.formats.sensor_csv import Column, read_sensor_csv, write_sensor_csv
    from mambats.formats.store import open_recording, save_recording
    from mambats.formats.table import read_table
    from mambats.formats.tum import read_tum, write_tum
    from mambats.formats.uea import Cases, read_uea

__all__ = [
    "REFUSE",
    "REPAIR",
    "Cases",
    "Column",
    "DataError",
    "Policy",
    "Reading",
    "Roles",
    "open_any",
    "open_recording",
    "read_bag",
    "read_broad",
    "read_cmapss",
    "read_euroc",
    "read_gtsam_ins",
    "read_nab",
    "read_nuscenes",
    "read_sensor_csv",
    "read_table",
    "read_tum",
    "read_uea",
    "save_recording",
    "write_mcap",
    "write_sensor_csv",
    "write_tum",
]

_HOMES = {
    "REFUSE": "repair",
    "REPAIR": "repair",
    "Cases": "uea",
    "Column": "sensor_csv",
    "DataError": "error",
    "Policy": "repair",
    "Reading": "roles",
    "Roles": "roles",
    "open_any": "opener",
    "open_recording": "store",
    "read_bag": "bags",
    "read_broad": "broad",
    "read_cmapss": "cmapss",
    "read_euroc": "euroc",
    "read_gtsam_ins": "gtsam_ins",
    "read_nab": "nab",
    "read_nuscenes": "nuscenes",
    "read_sensor_csv": "sensor_csv",
    "read_table": "table",
    "read_tum": "tum",
    "read_uea": "uea",
    "save_recording": "store",
    "write_mcap": "bags",
    "write_sensor_csv": "sensor_csv",
    "write_tum": "tum",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
