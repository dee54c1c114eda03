"""Where tracked bodies will be: places some seconds ahead, with uncertainty, beside constant velocity."""

from mambats.track.forecast.baselines import baselines
from mambats.track.forecast.batch import Forecast, ForecastBatch, batch_of
from mambats.track.forecast.course import Course
from mambats.track.forecast.features import channels
from mambats.track.forecast.labelled import LabelFilter
from mambats.track.forecast.loss import forecast_loss, log_density
from mambats.track.forecast.metrics import forecast_scores, min_ade, min_fde, region_level
from mambats.track.forecast.model import TrajectoryForecaster
from mambats.track.forecast.module import ForecastModule, SceneSource
from mambats.track.forecast.own_motion import OwnMotion, looks_of, own_motion, row_of, teller, with_own_motion
from mambats.track.forecast.report import ForecastReport
from mambats.track.forecast.scene import Scene, joined, scene_of
from mambats.track.forecast.sources import KittiLabels, KittiTracks, TrackedWorlds
from mambats.track.forecast.task import TrackForecastTask

__all__ = [
    "Course",
    "Forecast",
    "ForecastBatch",
    "ForecastModule",
    "ForecastReport",
    "KittiLabels",
    "KittiTracks",
    "LabelFilter",
    "OwnMotion",
    "Scene",
    "SceneSource",
    "TrackForecastTask",
    "TrackedWorlds",
    "TrajectoryForecaster",
    "baselines",
    "batch_of",
    "channels",
    "forecast_loss",
    "forecast_scores",
    "joined",
    "log_density",
    "looks_of",
    "min_ade",
    "min_fde",
    "own_motion",
    "region_level",
    "row_of",
    "scene_of",
    "teller",
    "with_own_motion",
]
