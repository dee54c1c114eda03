"""Corpora: where they come from, what they may be used for, and how their files become recordings.

Names are loaded when first used; reading tables needs polars, downloads need pooch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats_datasets.beijing import BeijingPM25
    from mambats_datasets.ett import ETT
    from mambats_datasets.source import ChecksumError, DownloadError, NotFoundError, SourceRecord
    from mambats_datasets.synthetic.oscillator import Oscillators
    from mambats_datasets.vega import VegaTemperature

__all__ = [
    "ETT",
    "BeijingPM25",
    "ChecksumError",
    "DownloadError",
    "NotFoundError",
    "Oscillators",
    "SourceRecord",
    "VegaTemperature",
]

_HOMES = {
    "BeijingPM25": "beijing",
    "ChecksumError": "source",
    "DownloadError": "source",
    "ETT": "ett",
    "NotFoundError": "source",
    "Oscillators": "synthetic.oscillator",
    "SourceRecord": "source",
    "VegaTemperature": "vega",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
