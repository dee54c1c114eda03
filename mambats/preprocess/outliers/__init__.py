"""Find values, innovations and points that do not belong."""

from mambats.preprocess.outliers.chi_square import ChiSquareGate, Gated
from mambats.preprocess.outliers.gate import RangeGate, RateGate
from mambats.preprocess.outliers.hampel import Hampel, flag
from mambats.preprocess.outliers.plane import DegenerateError, Plane, RansacPlane
from mambats.preprocess.outliers.stuck import Stuck

__all__ = [
    "ChiSquareGate",
    "DegenerateError",
    "Gated",
    "Hampel",
    "Plane",
    "RangeGate",
    "RansacPlane",
    "RateGate",
    "Stuck",
    "flag",
]
