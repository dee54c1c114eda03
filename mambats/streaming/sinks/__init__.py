"""Where answers go: one kind of sink a file."""

from mambats.streaming.sinks.answers import AnswerLines
from mambats.streaming.sinks.forecasts import ForecastRows, point_of
from mambats.streaming.sinks.tracks import is_tracks, plain_outputs, told

__all__ = ["AnswerLines", "ForecastRows", "is_tracks", "plain_outputs", "point_of", "told"]
