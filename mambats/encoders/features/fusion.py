"""A fusion encoder whose streams are raw rows: each extractor makes the tokens that the encoder inside fuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.encoders.features.extractor import FeatureExtractor
from mambats.protocols import Event, FusionEncoder, State
from mambats.series import SensorRows


class ExtractingState(NamedTuple):
    """What is carried from one window to the next.

    Attributes:
        fusion: State of the fusion encoder.
        features: State of each extractor, in their order; empty for those that work row by row.
    """

    fusion: State
    features: tuple[State, ...]


class ExtractingFusion(FusionEncoder):
    """Read streams through extractors, then fuse: sweeps, pictures and tables beside plain streams.

    Tokens of a stream stand where its extractor puts them: at its rows, or, from an IMU, at the ends of periods. Where
    an extractor has a pace of its own, windows that follow one another must be whole periods long, and `step` is
    refused: online, give windows of one period.

    Args:
        fusion: Fuses tokens; its `streams` says the width of each extractor.
        extractors: By stream; streams without one are handed on as they are.

    Raises:
        ValueError: If an extractor's stream is not fused, or has another width there.

    Example:
        encoder = ExtractingFusion(
            StreamFusion({"lidar": 32, "gnss": 3}, 64, 2, period_ns=10_000_000), {"lidar": PillarEncoder(6, 32)}
        )
        tokens, state = encoder(window.streams, window.length_ns)
    """

    def __init__(self, fusion: FusionEncoder, extractors: Mapping[str, FeatureExtractor]) -> None:
        super().__init__()
        for name, extractor in extractors.items():
            if fusion.streams.get(name) != extractor.width:
                raise ValueError(
                    f"extractors[{name!r}] gives {extractor.width} channels, the fusion encoder reads "
                    f"{dict(fusion.streams)}: name the stream there, with as many channels."
                )
        self.fusion = fusion
        self.extractors = dict(extractors)
        self.streams = fusion.streams
        self.width = fusion.width
        self.period_ns = fusion.period_ns
        self.causal = fusion.causal
        self.lookahead = fusion.lookahead
        self.readers = nn.ModuleDict({f"of_{name}": extractor for name, extractor in extractors.items()})

    def forward(
        self, rows: Mapping[str, SensorRows], length_ns: int, *, state: ExtractingState | None = None
    ) -> tuple[dict[str, Tensor], ExtractingState | None]:
        """Encode a window; see `mambats.protocols.FusionEncoder.forward`."""
        if state is None and rows:
            features = self._features(next(iter(rows.values())).mask.shape[0])
        else:
            features = () if state is None else state.features  # nothing at all: the fusion encoder says so
        tokens, left = dict(rows), list[State]()
        for (name, extractor), own in zip(self.extractors.items(), features, strict=False):
            if name in rows:
                tokens[name], own = extractor.carry_rows(rows[name], length_ns, own)
            else:
                own = extractor.pass_time(length_ns, own)
            left.append(own)
        made, inner = self.fusion(tokens, length_ns, state=None if state is None else state.fusion)
        return made, None if inner is None else ExtractingState(inner, tuple(left))

    def _features(self, batch: int) -> tuple[State, ...]:
        """Return the state of each extractor before any row."""
        return tuple(extractor.init_state(batch) for extractor in self.extractors.values())

    def init_state(self, batch: int) -> ExtractingState:
        """Return the state before any row, on the device of the parameters."""
        return ExtractingState(self.fusion.init_state(batch), self._features(batch))

    def step(
        self, events: Mapping[str, Event], elapsed_ns: Tensor, *, state: ExtractingState
    ) -> tuple[dict[str, Tensor], ExtractingState]:
        """Take what was measured at one moment; see `mambats.protocols.FusionEncoder.step`.

        The values of a table (B, P, C) hold NaN where it has no row.

        Raises:
            ValueError: If an extractor has a pace of its own.
        """
        paced = [name for name, extractor in self.extractors.items() if not extractor.row_by_row]
        if paced:
            raise ValueError(
                f"{paced} become tokens at a pace of their own, and cannot step row by row: give forward windows of "
                "one period with carried state."
            )
        tokens = {name: self._extract(name, event) for name, event in events.items()}
        made, inner = self.fusion.step(tokens, elapsed_ns, state=state.fusion)
        return made, ExtractingState(inner, state.features)

    def _extract(self, name: str, event: Event) -> Event:
        """Make the row of a stream its token."""
        if name not in self.extractors:
            return event
        values = event.values.unsqueeze(1)
        mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        mask = mask if event.mask is None else event.mask.unsqueeze(1)
        observed = None if event.observed is None else event.observed.unsqueeze(1)
        rows = SensorRows(values, mask, mask.float(), torch.zeros_like(mask, dtype=torch.int64), observed)
        return Event(self.extractors[name].encode_rows(rows, 0).values[:, 0], None, event.mask)
