"""Clean what sensors measured: array in, array out, whole or as a stream with the same numbers.

Names are loaded when first used, so that `import mambats.preprocess` needs neither scipy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambats.preprocess.carried import (
        Carried,
        OfflineOnlyError,
    )
    from mambats.preprocess.outliers import (
        ChiSquareGate,
        DegenerateError,
        Gated,
        Hampel,
        Plane,
        RangeGate,
        RansacPlane,
        RateGate,
        Stuck,
        flag,
    )
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
    "ChiSquareGate",
    "DegenerateError",
    "Derivative",
    "Exponential",
    "Gated",
    "Hampel",
    "MovingAverage",
    "Notch",
    "OfflineOnlyError",
    "OnStream",
    "Plane",
    "RangeGate",
    "RansacPlane",
    "RateGate",
    "RunningMedian",
    "SavitzkyGolay",
    "Sections",
    "Stuck",
    "ZeroPhase",
    "flag",
]

_HOMES = {
    "BandFilter": "signal",
    "Carried": "carried",
    "ChiSquareGate": "outliers",
    "DegenerateError": "outliers",
    "Derivative": "signal",
    "Exponential": "signal",
    "Gated": "outliers",
    "Hampel": "outliers",
    "MovingAverage": "signal",
    "Notch": "signal",
    "OfflineOnlyError": "carried",
    "OnStream": "signal",
    "Plane": "outliers",
    "RangeGate": "outliers",
    "RansacPlane": "outliers",
    "RateGate": "outliers",
    "RunningMedian": "signal",
    "SavitzkyGolay": "signal",
    "Sections": "signal",
    "Stuck": "outliers",
    "ZeroPhase": "signal",
    "flag": "outliers",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
