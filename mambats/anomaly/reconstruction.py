"""Reconstruction: hide rows, let a model that reads both ways fill them in, and compare. Offline."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from mambats.anomaly.head import SurpriseHead
from mambats.anomaly.rows import Rows, Surprise, check_rows, mean_over_channels
from mambats.anomaly.scorer import Scorer, StreamingError
from mambats.protocols import Encoder
from mambats.scale import InstanceNorm


class Reconstruction(Scorer):
    """Fill in hidden blocks of rows from the rows around them, until every row was hidden once.

    A row's score needs the rest of its window, so it is an offline score (at best a fixed lag of `window` rows).

    Args:
        encoder: An encoder of the channels, bidirectional to use both sides.
        head: What to expect.
        window: Rows read at once; each window is normalised by its own visible rows.
        block: Rows hidden together: a neighbour alone gives a smooth series away.
        passes: Windows are read so many times with another share hidden.

    Raises:
        ValueError: If widths or channels disagree, or a size is too small.
    """

    mode = "offline"

    def __init__(
        self, encoder: Encoder, head: SurpriseHead, window: int = 256, block: int = 4, passes: int = 4
    ) -> None:
        super().__init__()
        if (head.width, head.channels) != (encoder.width, encoder.channels):
            raise ValueError(
                f"the head reads width {head.width} and {head.channels} channels, the encoder gives {encoder.width} "
                f"and reads {encoder.channels}: set both alike."
            )
        if block < 1 or passes < 2 or window < block * passes:
            raise ValueError(
                f"window {window}, block {block}, passes {passes}: needed a block of 1 or more, 2 passes or more, and "
                "a window that holds one block of each pass."
            )
        self.encoder, self.head, self.window, self.block, self.passes = encoder, head, window, block, passes
        self.norm = InstanceNorm()

    def loss(self, rows: Rows) -> Tensor:
        """Return the mean loss over hidden values, in units of the window's deviation; blocks move each time."""
        check_rows(rows)
        batch, length = rows.values.shape[:2]
        start = torch.randint(self.block * self.passes, (batch, 1), device=rows.values.device)
        hidden = self._turn(torch.arange(length, device=rows.values.device) + start) == 0
        expected, scale = self._fill(rows, hidden)
        unit = scale.unsqueeze(-1)
        each = self.head.loss(
            self.head.rescale(expected, rows.values.unsqueeze(-1), unit), torch.zeros_like(rows.values)
        )
        judged = rows.seen & hidden[..., None]
        return torch.where(judged, each, 0).sum() / judged.sum().clamp_min(1)

    def forward(self, rows: Rows, state: Any = None) -> tuple[Surprise, None]:
        """Return the surprise of every row; windows tile the series, the last one reaches back over the one before.

        Raises:
            ValueError: If shapes disagree.
            StreamingError: If a state is given.
        """
        check_rows(rows)
        if state is not None:
            self._refuse()
        length = rows.values.shape[1]
        width = min(self.window, length)
        parts: list[Surprise] = []
        for begin in range(0, length, max(width, 1)):
            start = min(begin, length - width)
            whole = self._judge(rows.part(start, start + width))
            parts.append(Surprise(*(value[:, begin - start :] for value in whole)))
        if not parts:
            bound = torch.full_like(rows.values, torch.nan)
            return Surprise(rows.values.sum(-1), bound, bound), None
        return Surprise(*(torch.cat(each, 1) for each in zip(*parts, strict=True))), None

    def init_state(self, batch: int) -> NoReturn:
        """Refuse: the model reads ahead."""
        self._refuse()

    def step(self, row: Rows, state: Any) -> NoReturn:
        """Refuse: the model reads ahead."""
        self._refuse()

    def _judge(self, rows: Rows) -> Surprise:
        """Return the surprise of every row of one window, hidden in turn."""
        batch, length = rows.values.shape[:2]
        turn = self._turn(torch.arange(length, device=rows.values.device)).expand(batch, -1)
        score = torch.zeros_like(rows.values[..., 0])
        low, high = (torch.full_like(rows.values, torch.nan) for _ in range(2))
        for each in range(self.passes):
            hidden = turn == each
            expected, scale = self._fill(rows, hidden)
            scaled = self.head.rescale(expected, rows.values.unsqueeze(-1), scale.unsqueeze(-1))
            found = mean_over_channels(self.head.surprise(scaled, torch.zeros_like(rows.values)), rows.seen)
            bounds = self.head.interval(expected)
            score = torch.where(hidden, found, score)
            low, high = (torch.where(hidden[..., None], b, old) for b, old in zip(bounds, (low, high), strict=True))
        return Surprise(score, low, high)

    def _fill(self, rows: Rows, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return expectations (B, T, C, P) with some rows (B, T) hidden, and the deviation (B, T, C) of the window."""
        visible = rows.seen & ~hidden[..., None]
        location, scale = self.norm(rows.values, visible)
        location, scale = (value.expand_as(rows.values) for value in (location, scale))
        tokens, _ = self.encoder((rows.values - location) / scale * visible, rows.gaps, observed=visible)
        return self.head(tokens, location, scale), scale

    def _turn(self, place: Tensor) -> Tensor:
        return place // self.block % self.passes

    def _refuse(self) -> NoReturn:
        raise StreamingError(
            "a reconstruction reads ahead, so it has no state and no step: score row by row with ForecastError."
        )
