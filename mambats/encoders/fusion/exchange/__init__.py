"""Exchanges between streams: chosen by one line of a recipe."""

from mambats.encoders.fusion.exchange.base import Exchange, ExchangeSettings, Heard
from mambats.encoders.fusion.exchange.concatenated import Concatenated, ConcatenatedSettings
from mambats.encoders.fusion.exchange.cross_scan import CrossScan, CrossScanSettings
from mambats.encoders.fusion.exchange.gated_hold import GatedHold, GatedHoldSettings
from mambats.encoders.fusion.exchange.hidden_gate import HiddenGate, HiddenGateSettings
from mambats.encoders.fusion.exchange.precision import Precision, PrecisionSettings

__all__ = [
    "EXCHANGES",
    "Concatenated",
    "ConcatenatedSettings",
    "CrossScan",
    "CrossScanSettings",
    "Exchange",
    "ExchangeSettings",
    "GatedHold",
    "GatedHoldSettings",
    "Heard",
    "HiddenGate",
    "HiddenGateSettings",
    "Precision",
    "PrecisionSettings",
]

#: Small exchanges of every kind by name: the laws walk them. A new one is one line here.
EXCHANGES: dict[str, ExchangeSettings] = {
    "gated_hold": GatedHoldSettings(),
    "hidden_gate": HiddenGateSettings(),
    "cross_scan": CrossScanSettings(state_size=3),
    "concatenated": ConcatenatedSettings(),
}
