"""Event fusion: the rows of all streams, in the order of time, are one sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mambats.encoders.causal import CausalEncoder, CausalState
from mambats.encoders.compact import Clock
from mambats.encoders.fusion.absence import drop_streams
from mambats.encoders.fusion.clock import Pauses, StreamClock, run_clock
from mambats.encoders.fusion.lineup import check_share, check_streams, line_up, pick_events
from mambats.encoders.fusion.merge import embed_side_by_side, event_embeddings, merge, with_own_gap
from mambats.mixers import Block, MambaSettings, MixerSettings
from mambats.protocols import Event, FusionEncoder, State
from mambats.series import SensorRows


class EventState(NamedTuple):
    """What event fusion carries.

    Attributes:
        clock: When each stream last measured.
        layers: One mixer state a layer, batch first.
    """

    clock: StreamClock
    layers: tuple[State, ...]


class EventFusion(FusionEncoder):
    """Embed rows of every stream, merge them by (stamp, stream order), pass them through one causal stack.

    A row's embedding is its stream's own and knows the time since that stream's row before; the scans know the time
    since the row before of any stream. Queries (streams of no channels) pass through the same scans.

    Args:
        streams: Channels C of each stream by name; 0 for one that only asks. The order settles equal stamps.
        width: Width of the tokens.
        layers: Number of blocks.
        period_ns: Nanoseconds that count as a gap of 1.
        mixer: The mixer of each block; None is `MambaSettings()`.
        dropout: Share of each block's output dropped in training.
        stream_dropout: Probability that a stream is removed from a series in training (never all of them).

    Raises:
        ValueError: If a size is below 1 or a share outside [0, 1).

    Example:
        encoder = EventFusion({"imu": 6, "gnss": 3}, width=64, layers=2, period_ns=10_000_000)
        tokens, state = encoder(window.streams, window.length_ns)
    """

    causal = True
    lookahead = 0.0

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
        super().__init__()
        check_streams(streams, width, layers, period_ns)
        check_share("dropout", dropout)
        check_share("stream_dropout", stream_dropout)
        self.streams = dict(streams)
        self.width = width
        self.layers = layers
        self.period_ns = period_ns
        self.mixer = mixer
        self.dropout = dropout
        self.stream_dropout = stream_dropout
        self.embeddings = event_embeddings(streams, width)
        self.blocks = nn.ModuleList(Block((mixer or MambaSettings()).build(width), dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self._lanes = [
            self._lane(embedding, channels)
            for embedding, channels in zip(self.embeddings, streams.values(), strict=True)
        ]

    def forward(
        self, rows: Mapping[str, SensorRows], length_ns: int, *, state: EventState | None = None
    ) -> tuple[dict[str, Tensor], EventState]:
        """Encode a window; see `mambats.protocols.FusionEncoder.forward`."""
        batch = None if state is None else len(state.clock.since)
        given = line_up(self.streams, rows, length_ns, self.norm.weight, batch)
        if self.training and self.stream_dropout:
            given = drop_streams(given, self.stream_dropout)
        if state is None:
            state = self.init_state(given[0].mask.shape[0])
        merged = merge(given, state.clock.newest().stamps()[:, 0])
        pauses, clock = run_clock(state.clock, given, length_ns)
        token, gaps = embed_side_by_side(self.embeddings, given, pauses, merged, self.period_ns)
        left: list[State] = []
        for block, layer in zip(self.blocks, state.layers, strict=True):
            token, layer = block(token, gaps, cu_seqlens=merged.packing.cu_seqlens, state=layer)
            left.append(layer)
        tokens = merged.packing.unpack(self.norm(token)).split(merged.sizes, 1)
        by_name = dict(zip(self.streams, tokens, strict=True))
        return {name: by_name[name] for name in rows}, EventState(clock, tuple(left))

    def init_state(self, batch: int) -> EventState:
        """Return the state before any row, on the device of the parameters."""
        layers = tuple(block.init_state(batch) for block in self.blocks)  # type: ignore[operator]
        return EventState(StreamClock.start(batch, len(self.streams), self.norm.weight.device), layers)

    def step(
        self, events: Mapping[str, Event], elapsed_ns: Tensor, *, state: EventState
    ) -> tuple[dict[str, Tensor], EventState]:
        """Take what was measured at one moment; see `mambats.protocols.FusionEncoder.step`."""
        clock, layers = state.clock.after(elapsed_ns), state.layers
        tokens: dict[str, Tensor] = {}
        for number, name, event in pick_events(self.streams, events, elapsed_ns, len(clock.since)):
            newest = clock.newest()
            own, gap = self._gaps(clock, number), self._gaps(newest, 0)
            values, observed = with_own_gap(event.values, event.observed, own)
            before = CausalState(Clock(torch.zeros_like(gap), torch.zeros_like(newest.fresh[:, 0])), layers)
            token, after = self._lanes[number].step(values, gap, observed_t=observed, mask_t=event.mask, state=before)
            layers, clock = after.layers, clock.measured(number, event.mask)
            tokens[name] = token
        return tokens, EventState(clock, layers)

    def _gaps(self, clock: StreamClock, stream: int) -> Tensor:
        """Return the time since the last row of a stream, in reference periods."""
        dtype = torch.promote_types(self.norm.weight.dtype, torch.float32)
        return Pauses(clock.since[:, stream], clock.fresh[:, stream]).gaps(self.period_ns, dtype)

    def _lane(self, embedding: Any, channels: int) -> CausalEncoder:
        """View one stream's embedding and the stack as a causal encoder, whose step runs natively where it can."""
        lane = CausalEncoder(channels + 1, self.width, 1, no_mixer=True)
        lane.embedding, lane.blocks, lane.norm = embedding, self.blocks, self.norm
        return lane
