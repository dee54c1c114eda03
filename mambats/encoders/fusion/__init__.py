"""Encoders of several streams with clocks of their own."""

from collections.abc import Callable, Mapping

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
from mambats.mixers import MIXERS
from mambats.protocols import FusionEncoder

__all__ = [
    "EXCHANGES",
    "FUSION_ENCODERS",
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

_MIXER, _PERIOD_NS = MIXERS["mamba"], 10_000_000

#: Small fusion encoders of every kind by name, made from (streams, width): the laws walk them, with streams "imu",
#: "gnss" and "ask" (of no channels). A new one is one line here.
FUSION_ENCODERS: dict[str, Callable[[Mapping[str, int], int], FusionEncoder]] = {
    "event": lambda streams, width: EventFusion(streams, width, 2, period_ns=_PERIOD_NS, mixer=_MIXER),
    "stream_shared": lambda streams, width: StreamFusion(
        streams, width, 2, period_ns=_PERIOD_NS, mixer=Shared(MIXERS["mamba_hold"])
    ),
    "estimate": lambda streams, width: EstimateFusion(streams, width, 1, period_ns=_PERIOD_NS, mixer=_MIXER),
    "concatenation": lambda streams, width: ConcatenationFusion(
        streams, width, 1, period_ns=_PERIOD_NS, clock="gnss", mixer=_MIXER
    ),
    "concatenation_grid": lambda streams, width: ConcatenationFusion(
        streams, width, 1, period_ns=_PERIOD_NS, clock="ask", mixer=_MIXER
    ),
    "event_both_ways": lambda streams, width: BidirectionalEventFusion(
        streams, width, 2, period_ns=_PERIOD_NS, mixer=_MIXER
    ),
    "event_ahead": lambda streams, width: BidirectionalEventFusion(
        streams, width, 2, period_ns=_PERIOD_NS, mixer=_MIXER, lookahead=0.07
    ),
    "stream_both_ways": lambda streams, width: BidirectionalStreamFusion(
        streams, width, 1, period_ns=_PERIOD_NS, mixer=_MIXER
    ),
    "stream_ahead": lambda streams, width: BidirectionalStreamFusion(
        streams, width, 2, period_ns=_PERIOD_NS, mixer=_MIXER, lookahead=0.07
    ),
    **{
        f"stream_{name}": lambda streams, width, exchange=exchange: StreamFusion(
            streams, width, 2, period_ns=_PERIOD_NS, mixer=_MIXER, exchange=exchange
        )
        for name, exchange in EXCHANGES.items()
    },
}
