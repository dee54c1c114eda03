"""Stream fusion: a scan a stream, and between layers each token hears the last of every other stream."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from mambats.encoders.fusion.exchange import ExchangeSettings, GatedHoldSettings
from mambats.encoders.fusion.hearing import Hearing
from mambats.encoders.fusion.lanes import LaneEncoder
from mambats.mixers import MixerSettings


class StreamFusion(LaneEncoder):
    """Scan every stream at its own rate; after each layer let tokens hear the last of every other stream.

    The last token of another stream is the one strictly earlier in (stamp, stream order); its age goes with it, zeros
    and a flag where there is none. Of what layer l says, layer l + 1 knows: nothing depends on when a row is computed.

    Args:
        streams: Channels C of each stream by name; 0 for one that only asks. The order settles equal stamps.
        width: Width of the tokens.
        layers: Number of blocks a stream.
        period_ns: Nanoseconds that count as a gap of 1.
        mixer: The mixer of each block; None is `MambaSettings()`; `Shared(...)` lets all streams share parameters.
        exchange: How tokens take over what they hear; None is `GatedHoldSettings()`.
        dropout: Share of each block's output dropped in training.
        stream_dropout: Probability that a stream is removed from a series in training (never all of them).

    Raises:
        ValueError: If a size is below 1 or a share outside [0, 1).

    Example:
        encoder = StreamFusion({"imu": 6, "gnss": 3}, width=64, layers=2, period_ns=10_000_000)
        tokens, state = encoder(window.streams, window.length_ns)
        trust = encoder.reliability(window.streams, window.length_ns)["imu"]
    """

    def __init__(
        self,
        streams: Mapping[str, int],
        width: int,
        layers: int,
        *,
        period_ns: int,
        mixer: MixerSettings | None = None,
        exchange: ExchangeSettings | None = None,
        dropout: float = 0.0,
        stream_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            streams, width, layers, period_ns=period_ns, mixer=mixer, dropout=dropout, stream_dropout=stream_dropout
        )
        self.exchange = exchange
        count, settings = len(streams), exchange or GatedHoldSettings()
        # A single stream has no one to hear.
        self.hearings = nn.ModuleList(
            Hearing(settings.build(count, width), count, width) for _ in range(layers if count > 1 else 0)
        )
