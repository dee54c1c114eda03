"""Recordings on disk: one Arrow file a stream and one JSON file, opened as memory maps with numpy alone."""

from mambats.formats.store.opened import open_recording
from mambats.formats.store.saved import save_recording

__all__ = ["open_recording", "save_recording"]
