"""Encoders of several streams with clocks of their own."""

from mambats.encoders.fusion.event import EventFusion, EventState

__all__ = ["EventFusion", "EventState"]
