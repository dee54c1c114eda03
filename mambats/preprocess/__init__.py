"""Clean what sensors measured: array in, array out, whole or as a stream with the same numbers.

Names are loaded when first used, so that `import mambats.preprocess` needs neither scipy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.preprocess.carried import Carried, OfflineOnlyError
    from mambats.preprocess.signal import (
        BandFilter,
        Derivative,
        Exponential,
        MovingAverage,
        Notch,
        OnStream,
        RunningMedian,
        SavitzkyGolay,
        Sections,
        ZeroPhase,
    )

__all__ = [
    "BandFilter",
    "Carried",
    "Derivative",
    "Exponential",
    "MovingAverage",
    "Notch",
    "OfflineOnlyError",
    "OnStream",
    "RunningMedian",
    "SavitzkyGolay",
    "Sections",
    "ZeroPhase",
]

_HOMES = {
    "BandFilter": "signal",
    "Carried": "carried",
    "Derivative": "signal",
    "Exponential": "signal",
    "MovingAverage": "signal",
    "Notch": "signal",
    "OfflineOnlyError": "carried",
    "OnStream": "signal",
    "RunningMedian": "signal",
    "SavitzkyGolay": "signal",
    "Sections": "signal",
    "ZeroPhase": "signal",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
