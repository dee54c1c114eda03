"""Encoders of several streams with clocks of their own."""

from mambats.encoders.fusion.concatenation import ConcatenationFusion, ConcatenationState
from mambats.encoders.fusion.estimate import EstimateFusion
from mambats.encoders.fusion.event import EventFusion, EventState
from mambats.encoders.fusion.event_ahead import BidirectionalEventFusion
from mambats.encoders.fusion.exchange import (
    EXCHANGES,
    ConcatenatedSettings,
    CrossScanSettings,
    Exchange,
    ExchangeSettings,
    GatedHoldSettings,
    HiddenGateSettings,
)
from mambats.encoders.fusion.lanes import LaneState
from mambats.encoders.fusion.scans import Shared
from mambats.encoders.fusion.stream import StreamFusion
from mambats.encoders.fusion.stream_ahead import BidirectionalStreamFusion

__all__ = [
    "EXCHANGES",
    "BidirectionalEventFusion",
    "BidirectionalStreamFusion",
    "ConcatenatedSettings",
    "ConcatenationFusion",
    "ConcatenationState",
    "CrossScanSettings",
    "EstimateFusion",
    "EventFusion",
    "EventState",
    "Exchange",
    "ExchangeSettings",
    "GatedHoldSettings",
    "HiddenGateSettings",
    "LaneState",
    "Shared",
    "StreamFusion",
]
