"""Corpora: where they come from, what they may be used for, and how their files become recordings.

Names are loaded when first used; reading tables needs polars, downloads need pooch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats_datasets.beijing import BeijingPM25
    from mambats_datasets.broad import Broad
    from mambats_datasets.cmapss import CMAPSS
    from mambats_datasets.ett import ETT
    from mambats_datasets.euroc import EuRoC
    from mambats_datasets.gtsam_ins import GtsamINS
    from mambats_datasets.imufusion import XioFusion
    from mambats_datasets.kitti import KittiObject, KittiOdometry, KittiRaw, KittiTracking
    from mambats_datasets.nab import NAB
    from mambats_datasets.nuscenes import NuScenes
    from mambats_datasets.source import ChecksumError, DownloadError, NotFoundError, SourceRecord
    from mambats_datasets.synthetic.oscillator import Oscillators
    from mambats_datasets.synthetic.robot import SimulatedRobots
    from mambats_datasets.synthetic.world.street import StreetWorlds
    from mambats_datasets.uea import UEA
    from mambats_datasets.vega import VegaTemperature

__all__ = [
    "CMAPSS",
    "ETT",
    "NAB",
    "UEA",
    "BeijingPM25",
    "Broad",
    "ChecksumError",
    "DownloadError",
    "EuRoC",
    "GtsamINS",
    "KittiObject",
    "KittiOdometry",
    "KittiRaw",
    "KittiTracking",
    "NotFoundError",
    "NuScenes",
    "Oscillators",
    "SimulatedRobots",
    "SourceRecord",
    "StreetWorlds",
    "VegaTemperature",
    "XioFusion",
]

_HOMES = {
    "CMAPSS": "cmapss",
    "ETT": "ett",
    "NAB": "nab",
    "UEA": "uea",
    "BeijingPM25": "beijing",
    "Broad": "broad",
    "ChecksumError": "source",
    "DownloadError": "source",
    "EuRoC": "euroc",
    "GtsamINS": "gtsam_ins",
    "KittiObject": "kitti",
    "KittiOdometry": "kitti",
    "KittiRaw": "kitti",
    "KittiTracking": "kitti",
    "NotFoundError": "source",
    "NuScenes": "nuscenes",
    "Oscillators": "synthetic.oscillator",
    "SimulatedRobots": "synthetic.robot",
    "SourceRecord": "source",
    "StreetWorlds": "synthetic.world.street",
    "VegaTemperature": "vega",
    "XioFusion": "imufusion",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
