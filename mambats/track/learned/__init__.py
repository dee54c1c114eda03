"""Noise, freedom and existence of tracks from the history of their innovations, classical and learned."""

from mambats.track.learned.box import AspectNoise
from mambats.track.learned.data import PathData
from mambats.track.learned.model import InnovationNoise
from mambats.track.learned.task import NoiseTask
from mambats.track.learned.tracker import CalibratedTracker

__all__ = ["AspectNoise", "CalibratedTracker", "InnovationNoise", "NoiseTask", "PathData"]
