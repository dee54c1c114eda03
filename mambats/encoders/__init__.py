"""Encoders: rows of measurements (B, T, C) to tokens (B, T, width)."""

from collections.abc import Callable

from mambats.encoders.bidirectional import BidirectionalEncoder, NotCausalError
from mambats.encoders.captured import CapturedStep
from mambats.encoders.causal import CausalEncoder, CausalState
from mambats.encoders.features import (
    ExtractingFusion,
    FeatureExtractor,
    ImageEncoder,
    ImuEncoder,
    ObjectEncoder,
    PillarEncoder,
    PointGrid,
    VoxelEncoder,
)
from mambats.encoders.fusion import (
    BidirectionalEventFusion,
    BidirectionalStreamFusion,
    ConcatenationFusion,
    EstimateFusion,
    EventFusion,
    Shared,
    StreamFusion,
)
from mambats.encoders.patch import PatchEncoder, PatchState
from mambats.mixers import MIXERS
from mambats.protocols import Encoder

__all__ = [
    "ENCODERS",
    "BidirectionalEncoder",
    "BidirectionalEventFusion",
    "BidirectionalStreamFusion",
    "CapturedStep",
    "CausalEncoder",
    "CausalState",
    "ConcatenationFusion",
    "EstimateFusion",
    "EventFusion",
    "ExtractingFusion",
    "FeatureExtractor",
    "ImageEncoder",
    "ImuEncoder",
    "NotCausalError",
    "ObjectEncoder",
    "PatchEncoder",
    "PatchState",
    "Shared",
    "StreamFusion",
    "PillarEncoder",
    "PointGrid",
    "VoxelEncoder",
]

#: Small encoders of every kind by name, made from (channels, width): the laws walk them. A new one is one line here.
ENCODERS: dict[str, Callable[[int, int], Encoder]] = {
    "causal": lambda channels, width: CausalEncoder(channels, width, 2, mixer=MIXERS["mamba"]),
    "causal_hold": lambda channels, width: CausalEncoder(channels, width, 2, mixer=MIXERS["mamba_hold"]),
    "causal_no_mixer": lambda channels, width: CausalEncoder(channels, width, 2, no_mixer=True),
    "bidirectional": lambda channels, width: BidirectionalEncoder(channels, width, 2, mixer=MIXERS["mamba"]),
    "bidirectional_lookahead": lambda channels, width: BidirectionalEncoder(
        channels, width, 2, mixer=MIXERS["mamba"], lookahead=4
    ),
    "bidirectional_tied": lambda channels, width: BidirectionalEncoder(
        channels, width, 2, mixer=MIXERS["mamba_hold"], tied=True, lookahead=3
    ),
}
