"""How a recipe names a mixer: a frozen dataclass that builds it for a width."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mambats.protocols import Mixer


class MixerSettings(ABC):
    """What a mixer needs to know besides its width. Subclasses are frozen dataclasses of plain values.

    An encoder takes settings, not a mixer: it makes one mixer a layer, and a checkpoint holds plain values.
    """

    @abstractmethod
    def build(self, width: int) -> Mixer:
        """Make a new mixer for tokens of `width`, with fresh parameters."""
