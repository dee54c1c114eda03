"""The nouns of data: streams of stamped values, frames of reference, recordings, and batches of windows."""

from mambats.series.clock import Flags, Floats, Stamps, check_clock
from mambats.series.frames import FrameTree, Rigid
from mambats.series.images import ImageStream
from mambats.series.ragged import RaggedStream
from mambats.series.recording import Recording
from mambats.series.sensor_window import SensorRows, SensorWindow
from mambats.series.stream import Stream
from mambats.series.window import Window

__all__ = [
    "Flags",
    "Floats",
    "FrameTree",
    "ImageStream",
    "RaggedStream",
    "Recording",
    "Rigid",
    "SensorRows",
    "SensorWindow",
    "Stamps",
    "Stream",
    "Window",
    "check_clock",
]
