"""A batch of windows over several streams, each with its own clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class SensorRows:
    """The rows of one stream in a batch of windows, padded behind to the longest.

    Args:
        values: Shape (B, T, C), 0 where not observed. Of a ragged stream (B, T, P, C): P rows of each table.
        mask: Which rows exist, shape (B, T) bool.
        gaps: Time since the previous row of the stream in the window, in reference periods, shape (B, T) float32; 1 at
            the first row, 0 where there is none.
        stamps: Nanoseconds since the window's start, shape (B, T) int64.
        observed: Which values were measured, shape of values, or None where all were.
        counts: Of a ragged stream: rows of each table, shape (B, T) int64.
    """

    values: Tensor
    mask: Tensor
    gaps: Tensor
    stamps: Tensor
    observed: Tensor | None = None
    counts: Tensor | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the same rows on another device."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def take(self, index: Sequence[int]) -> Self:
        """Return the rows of some of the windows, in the order of `index`."""
        chosen = list(index)
        return replace(
            self, **{f.name: value[chosen] for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        )


@dataclass(frozen=True)
class SensorWindow:
    """A batch of windows over several streams: rows with start < time <= end.

    Args:
        streams: Rows of each stream by name.
        starts: Start of each window, int64 nanoseconds, shape (B,).
        length_ns: Of every window.
        recording: Number of each window's recording, shape (B,) int64.
        truth: Rows of the ground truth by name.
    """

    streams: Mapping[str, SensorRows]
    starts: Tensor
    length_ns: int
    recording: Tensor
    truth: Mapping[str, SensorRows]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the same batch on another device (Lightning calls this)."""
        return replace(
            self,
            streams={name: rows.to(device, non_blocking=non_blocking) for name, rows in self.streams.items()},
            truth={name: rows.to(device, non_blocking=non_blocking) for name, rows in self.truth.items()},
            starts=self.starts.to(device, non_blocking=non_blocking),
            recording=self.recording.to(device, non_blocking=non_blocking),
        )

    def take(self, index: Sequence[int]) -> Self:
        """Return some of the windows, in the order of `index`."""
        chosen = list(index)
        return replace(
            self,
            streams={name: rows.take(chosen) for name, rows in self.streams.items()},
            truth={name: rows.take(chosen) for name, rows in self.truth.items()},
            starts=self.starts[chosen],
            recording=self.recording[chosen],
        )

    def __len__(self) -> int:
        """Return the number of windows."""
        return self.starts.shape[0]
