"""Encoders of several streams with clocks of their own."""

from mambats.encoders.fusion.event import EventFusion, EventState
from mambats.encoders.fusion.scans import Shared
from mambats.encoders.fusion.stream import StreamFusion

__all__ = ["EventFusion", "EventState", "Shared", "StreamFusion"]
