"""Filters of signals (*batch, T, C): whole, in chunks, or row by row, with the same numbers."""

from mambats.preprocess.signal.band import BandFilter, Notch, ZeroPhase
from mambats.preprocess.signal.on_stream import OnStream
from mambats.preprocess.signal.recursive import Derivative, Exponential
from mambats.preprocess.signal.sections import Sections
from mambats.preprocess.signal.window import MovingAverage, RunningMedian, SavitzkyGolay

__all__ = [
    "BandFilter",
    "Derivative",
    "Exponential",
    "MovingAverage",
    "Notch",
    "OnStream",
    "RunningMedian",
    "SavitzkyGolay",
    "Sections",
    "ZeroPhase",
]
