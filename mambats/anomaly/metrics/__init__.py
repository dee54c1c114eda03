"""Scores of anomaly detectors: ranges, volumes under surfaces, NAB. Point adjustment has a name that says it."""

from mambats.anomaly.metrics.inflated import best_point_f1, inflated_point_adjusted_f1
from mambats.anomaly.metrics.nab import (
    LOW_FALSE_ALARMS,
    LOW_MISSES,
    STANDARD,
    NabProfile,
    NabScore,
    nab_score,
    probation_rows,
)
from mambats.anomaly.metrics.ranges import find_ranges, range_f1, range_precision, range_recall
from mambats.anomaly.metrics.threshold_free import Areas, point_areas, volume_areas

__all__ = [
    "Areas",
    "LOW_FALSE_ALARMS",
    "LOW_MISSES",
    "NabProfile",
    "NabScore",
    "STANDARD",
    "best_point_f1",
    "find_ranges",
    "inflated_point_adjusted_f1",
    "nab_score",
    "point_areas",
    "probation_rows",
    "range_f1",
    "range_precision",
    "range_recall",
    "volume_areas",
]
