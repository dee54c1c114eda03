"""Exchanges between streams: chosen by one line of a recipe."""

from mambats.encoders.fusion.exchange.base import Exchange, ExchangeSettings, Heard
from mambats.encoders.fusion.exchange.gated_hold import GatedHold, GatedHoldSettings

__all__ = ["Exchange", "ExchangeSettings", "GatedHold", "GatedHoldSettings", "Heard"]
