"""Anomalies on streams: surprise of a model, calibrated against its own past, row by row."""

from mambats.anomaly.baselines import IsolationForest, LastValue, RollingZ, SeasonalNaive
from mambats.anomaly.calibration import RunningCalibration
from mambats.anomaly.data import LabelledSeries, SeriesDataModule
from mambats.anomaly.detector import Detected, Detector
from mambats.anomaly.forecast_error import ForecastError
from mambats.anomaly.head import GaussianHead, QuantileHead
from mambats.anomaly.members import Members
from mambats.anomaly.reconstruction import Reconstruction
from mambats.anomaly.report import Report
from mambats.anomaly.rows import Rows, Surprise
from mambats.anomaly.scorer import Scorer, StreamingError
from mambats.anomaly.task import AnomalyTask

__all__ = [
    "AnomalyTask",
    "Detected",
    "Detector",
    "ForecastError",
    "GaussianHead",
    "IsolationForest",
    "LabelledSeries",
    "LastValue",
    "Members",
    "QuantileHead",
    "Reconstruction",
    "Report",
    "RollingZ",
    "Rows",
    "RunningCalibration",
    "Scorer",
    "SeasonalNaive",
    "SeriesDataModule",
    "StreamingError",
    "Surprise",
]
