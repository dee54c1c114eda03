"""Estimate fusion: every stream estimates by itself, and estimates are combined by their precision."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from mambats.encoders.fusion.exchange import PrecisionSettings
from mambats.encoders.fusion.hearing import Hearing
from mambats.encoders.fusion.lanes import LaneEncoder
from mambats.mixers import MixerSettings


class EstimateFusion(LaneEncoder):
    """Scan every stream by itself to a latent mean and precision; combine at each token, older ones widened.

    Streams know of each other only in the combination, so that one stream's fault cannot spoil another's estimate, and
    `reliability` is each stream's share of the precision. A stream of no channels asks and has no share.

    Args:
        streams: Channels C of each stream by name; 0 for one that only asks. The order settles equal stamps.
        width: Width of the tokens and numbers of the latent estimate.
        layers: Number of blocks a stream.
        period_ns: Nanoseconds that count as a gap of 1.
        mixer: The mixer of each block; None is `MambaSettings()`; `Shared(...)` lets all streams share parameters.
        dropout: Share of each block's output dropped in training.
        stream_dropout: Probability that a stream is removed from a series in training (never all of them).

    Raises:
        ValueError: If a size is below 1 or a share outside [0, 1).

    Example:
        encoder = EstimateFusion({"imu": 6, "gnss": 3}, width=64, layers=2, period_ns=10_000_000)
        tokens, state = encoder(window.streams, window.length_ns)

    Source: the product of Gaussians; as the fusion of information filters, with a latent state.
    """

    def __init__(
        self,
        streams: Mapping[str, int],
        width: int,
        layers: int,
        *,
        period_ns: int,
        mixer: MixerSettings | None = None,
        dropout: float = 0.0,
        stream_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            streams, width, layers, period_ns=period_ns, mixer=mixer, dropout=dropout, stream_dropout=stream_dropout
        )
        asking = tuple(number for number, channels in enumerate(streams.values()) if channels == 0)
        exchange = PrecisionSettings(asking).build(len(streams), width)
        self.hearings = nn.ModuleList([Hearing(exchange, len(streams), width)])
