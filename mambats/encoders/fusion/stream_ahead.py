"""Stream fusion that reads both ways, as far ahead as `lookahead` allows: for smoothing, offline or at a lag."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mambats.encoders.bidirectional import BidirectionalBlock, Borders
from mambats.encoders.embed import Embedding
from mambats.encoders.fusion.absence import drop_streams
from mambats.encoders.fusion.ahead import AheadFusion, check_lookahead, time_borders
from mambats.encoders.fusion.clock import StreamClock
from mambats.encoders.fusion.exchange import ExchangeSettings, GatedHoldSettings
from mambats.encoders.fusion.hearing import Hearing, HearingState
from mambats.encoders.fusion.lanes import LaneState
from mambats.encoders.fusion.lineup import check_share, check_streams, line_up
from mambats.encoders.fusion.plan import Plan
from mambats.mixers import MambaSettings, MixerSettings
from mambats.protocols import State
from mambats.series import SensorRows


class BidirectionalStreamFusion(AheadFusion[LaneState]):
    """As `StreamFusion`, with every stream scanned forwards and backwards.

    With a look-ahead of L, reverse scans restart at the ends of blocks of time (0, L], (L, 2 L], ... of the window, the
    same in every layer and stream: a token waits for L seconds at most, at any depth. Tokens hear what others said
    before, so that what another stream measures later arrives by way of later rows of their own: with two layers or
    more. Online, `run_blocks` takes block after block.

    Args:
        streams: Channels C of each stream by name; 0 for one that only asks. The order settles equal stamps.
        width: Width of the tokens.
        layers: Number of blocks a stream.
        period_ns: Nanoseconds that count as a gap of 1.
        mixer: The mixer of each direction of each block; None is `MambaSettings()`.
        exchange: How tokens take over what they hear; None is `GatedHoldSettings()`.
        lookahead: L in seconds; None reads the whole window.
        stream_dropout: Probability that a stream is removed from a series in training (never all of them).

    Raises:
        ValueError: If a size is below 1, the share outside [0, 1), or L not above 0.
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
        lookahead: float | None = None,
        stream_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_streams(streams, width, layers, period_ns)
        check_share("stream_dropout", stream_dropout)
        check_lookahead(lookahead)
        self.streams = dict(streams)
        self.width = width
        self.layers = layers
        self.period_ns = period_ns
        self.mixer = mixer
        self.exchange = exchange
        self.lookahead = lookahead
        self.stream_dropout = stream_dropout
        count, make, between = len(streams), mixer or MambaSettings(), exchange or GatedHoldSettings()
        self.embeddings = nn.ModuleList(Embedding(channels, width) for channels in streams.values())
        self.blocks = nn.ModuleList(
            nn.ModuleList(BidirectionalBlock(make.build(width), make.build(width)) for _ in streams)
            for _ in range(layers)
        )
        self.hearings = nn.ModuleList(
            Hearing(between.build(count, width), count, width) for _ in range(layers if count > 1 else 0)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def _start(self, batch: int) -> LaneState:
        clock = StreamClock.start(batch, len(self.streams), self.norm.weight.device)
        scans = tuple(tuple(block.init_state(batch) for block in blocks) for blocks in self.blocks)  # type: ignore[attr-defined,operator]
        return LaneState(clock, scans, tuple(hearing.init_state(batch) for hearing in self.hearings))  # type: ignore[operator]

    def _run(
        self, rows: Mapping[str, SensorRows], length_ns: int, state: LaneState | None
    ) -> tuple[dict[str, Tensor], LaneState]:
        """Encode rows behind those of the state: scans forwards go on, those backwards restart at block ends."""
        given = line_up(self.streams, rows, length_ns, self.norm.weight, None if state is None else len(state.clock[0]))
        if self.training and self.stream_dropout:
            given = drop_streams(given, self.stream_dropout)
        if state is None:
            state = self._start(given[0].mask.shape[0])
        token, plan = self._embed(given, state.clock, length_ns)
        borders = [
            time_borders(stream.stamps, stream.mask, packing.cu_seqlens, length_ns, self.lookahead)
            for stream, packing in zip(given, plan.packings, strict=True)
        ]
        scans, heard = list[tuple[State, ...]](), list[HearingState]()
        for depth, blocks in enumerate(self.blocks):
            token, left = _both_ways(blocks, token, plan, borders, state.scans[depth])  # type: ignore[arg-type]
            scans.append(left)
            if len(self.hearings):
                token, said = self.hearings[depth](token, plan, state.heard[depth])
                heard.append(said)
        tokens = dict(zip(self.streams, plan.unpack(self.norm(token)), strict=True))
        return {name: tokens[name] for name in rows}, LaneState(plan.clock, tuple(scans), tuple(heard))

    def _embed(self, rows: tuple[SensorRows, ...], clock: StreamClock, length_ns: int) -> tuple[Tensor, Plan]:
        """Plan a window and embed its rows: packed tokens (1, L, width)."""
        dtype = torch.promote_types(self.norm.weight.dtype, torch.float32)
        plan, pauses = Plan.of(rows, clock, length_ns, self.period_ns, dtype)
        tokens = [
            embedding(stream.values, between.gaps(self.period_ns, dtype), stream.observed)
            for embedding, stream, between in zip(self.embeddings, rows, pauses, strict=True)
        ]
        return plan.pack(tokens), plan


def _both_ways(
    blocks: nn.ModuleList, tokens: Tensor, plan: Plan, borders: list[Borders], states: tuple[State, ...]
) -> tuple[Tensor, tuple[State, ...]]:
    """Scan every stream's packed tokens (1, L, D) forwards and backwards."""
    parts = zip(blocks, tokens.split(plan.sizes, 1), plan.gaps.split(plan.sizes, 1), borders, states, strict=True)
    done = [block.carry(part, gaps, ends, state) for block, part, gaps, ends, state in parts]  # type: ignore[operator]
    return torch.cat([part for part, _ in done], 1), tuple(state for _, state in done)
