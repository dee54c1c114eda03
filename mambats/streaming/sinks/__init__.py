"""Where answers go: one kind of sink a file."""

from mambats.streaming.sinks.answers import AnswerLines
from mambats.streaming.sinks.forecasts import ForecastRows, point_of

__all__ = ["AnswerLines", "ForecastRows", "point_of"]
