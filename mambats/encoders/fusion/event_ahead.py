"""Event fusion that reads both ways, as far ahead as `lookahead` allows: for smoothing, offline or at a lag."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mambats.encoders.bidirectional import BidirectionalBlock
from mambats.encoders.fusion.absence import drop_streams
from mambats.encoders.fusion.ahead import AheadFusion, check_lookahead, time_borders
from mambats.encoders.fusion.clock import StreamClock, run_clock
from mambats.encoders.fusion.event import EventState
from mambats.encoders.fusion.lineup import check_share, check_streams, line_up
from mambats.encoders.fusion.merge import embed_side_by_side, event_embeddings, merge
from mambats.mixers import MambaSettings, MixerSettings
from mambats.protocols import State
from mambats.series import SensorRows


class BidirectionalEventFusion(AheadFusion[EventState]):
    """As `EventFusion`, with every layer reading the merged rows forwards and backwards.

    With a look-ahead of L, reverse scans restart at the ends of blocks of time (0, L], (L, 2 L], ... of the window, the
    same in every layer: a token waits for L seconds at most, at any depth. Online, `run_blocks` takes block by block.

    Args:
        streams: Channels C of each stream by name; 0 for one that only asks.
        width: Width of the tokens.
        layers: Number of blocks.
        period_ns: Nanoseconds that count as a gap of 1.
        mixer: The mixer of each direction of each block; None is `MambaSettings()`.
        lookahead: L in seconds; None reads the whole window.
        dropout: Share of each block's output dropped in training.
        stream_dropout: Probability that a stream is removed from a series in training (never all of them).

    Raises:
        ValueError: If a size is below 1, a share outside [0, 1), or L not above 0.
    """

    def __init__(
        self,
        streams: Mapping[str, int],
        width: int,
        layers: int,
        *,
        period_ns: int,
        mixer: MixerSettings | None = None,
        lookahead: float | None = None,
        dropout: float = 0.0,
        stream_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_streams(streams, width, layers, period_ns)
        check_share("dropout", dropout)
        check_share("stream_dropout", stream_dropout)
        check_lookahead(lookahead)
        self.streams = dict(streams)
        self.width = width
        self.layers = layers
        self.period_ns = period_ns
        self.mixer = mixer
        self.lookahead = lookahead
        self.dropout = dropout
        self.stream_dropout = stream_dropout
        make = mixer or MambaSettings()
        self.embeddings = event_embeddings(streams, width)
        self.blocks = nn.ModuleList(
            BidirectionalBlock(make.build(width), make.build(width), dropout) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def _start(self, batch: int) -> EventState:
        layers = tuple(block.init_state(batch) for block in self.blocks)  # type: ignore[operator]
        return EventState(StreamClock.start(batch, len(self.streams), self.norm.weight.device), layers)

    def _run(
        self, rows: Mapping[str, SensorRows], length_ns: int, state: EventState | None
    ) -> tuple[dict[str, Tensor], EventState]:
        """Encode rows behind those of the state: scans forwards go on, those backwards restart at block ends."""
        given = line_up(self.streams, rows, length_ns, self.norm.weight, None if state is None else len(state.clock[0]))
        if self.training and self.stream_dropout:
            given = drop_streams(given, self.stream_dropout)
        if state is None:
            state = self._start(given[0].mask.shape[0])
        merged = merge(given, state.clock.newest().stamps()[:, 0])
        pauses, clock = run_clock(state.clock, given, length_ns)
        token, gaps = embed_side_by_side(self.embeddings, given, pauses, merged, self.period_ns)
        packing, left = merged.packing, list[State]()
        borders = time_borders(merged.stamps, packing.mask, packing.cu_seqlens, length_ns, self.lookahead)
        for block, layer in zip(self.blocks, state.layers, strict=True):
            token, layer = block.carry(token, gaps, borders, layer)  # type: ignore[operator]
            left.append(layer)
        tokens = dict(zip(self.streams, packing.unpack(self.norm(token)).split(merged.sizes, 1), strict=True))
        return {name: tokens[name] for name in rows}, EventState(clock, tuple(left))
