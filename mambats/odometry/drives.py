"""Drives made ready once: what the filters say of them, kept beside the truth, so that training runs no filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from mambats.odometry.losses import true_difference
from mambats.odometry.mixture import Candidates
from mambats.odometry.navigation import Navigation
from mambats.odometry.navigator import Prepared
from mambats.series import SensorRows


@dataclass(frozen=True)
class Drives:
    """N drives of one length.

    Args:
        rows: Streams of tokens.
        difference: Of the candidates, shape (N, Q, C, 9), see `Candidates`.
        covariance: Of the candidates, shape (N, Q, C, 9, 9).
        there: Which candidates exist, shape (N, Q, C) bool.
        target: The truth as a difference from the candidates' reference, shape (N, Q, 9).
        at: Which ticks are asked, shape (Q,) int64.
        length_ns: Of a drive.
    """

    rows: dict[str, SensorRows]
    difference: Tensor
    covariance: Tensor
    there: Tensor
    target: Tensor
    at: Tensor
    length_ns: int

    @classmethod
    def of(cls, prepared: Prepared, truth: Navigation, every: int = 1) -> Self:
        """Keep every so-manieth tick of what was prepared, with its truth (B, T)."""
        found = prepared.found
        at = torch.arange(every - 1, prepared.stamps.shape[1], every, device=prepared.stamps.device)
        target = true_difference(found, truth)
        asked = [part[:, at].contiguous() for part in (found.difference, found.covariance, found.there, target)]
        return cls(prepared.rows, asked[0], asked[1], asked[2], asked[3], at, prepared.length_ns)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Put drives of one length one behind the other."""
        first = parts[0]
        rows = {name: _joined([part.rows[name] for part in parts]) for name in first.rows}
        names = ("difference", "covariance", "there", "target")
        return replace(first, rows=rows, **{name: torch.cat([getattr(p, name) for p in parts]) for name in names})

    def __len__(self) -> int:
        """N."""
        return len(self.target)

    def take(self, which: Tensor) -> Self:
        """Return drives by number."""
        return self._each(lambda part: part[which])

    def to(self, device: torch.device | str) -> Self:
        """Return the same drives on another device."""
        return replace(self._each(lambda part: part.to(device)), at=self.at.to(device))

    def mirrored(self, which: Tensor) -> Self:
        """Return the drives as seen in a mirror that swaps left and right, where `which` (N,) says so.

        Physics does not know the difference, so each drive trains twice.
        """
        body, tokens = _mirror(self.difference.shape[2])
        sign = torch.where(which[:, None], self.target.new_tensor(body), 1.0)

        def shown(name: str, rows: SensorRows) -> SensorRows:
            turned = torch.where(which[:, None], rows.values.new_tensor(tokens[name]), 1.0)
            return replace(rows, values=rows.values * turned[:, None])

        return replace(
            self,
            rows={name: shown(name, rows) for name, rows in self.rows.items()},
            difference=self.difference * sign[:, None, None],
            covariance=self.covariance * (sign[:, :, None] * sign[:, None, :])[:, None, None],
            target=self.target * sign[:, None],
        )

    @property
    def found(self) -> Candidates:
        """The candidates at the ticks asked; where they are counted from is not kept."""
        none = self.target.new_zeros(())
        return Candidates(Navigation(none, none, none, none), self.difference, self.covariance, self.there, none)

    def _each(self, change: Any) -> Self:
        rows = {name: _changed(each, change) for name, each in self.rows.items()}
        names = ("difference", "covariance", "there", "target")
        return replace(self, rows=rows, **{name: change(getattr(self, name)) for name in names})


def _mirror(members: int) -> tuple[list[float], dict[str, list[float]]]:
    """Signs that a mirror gives to errors (9) and to the columns of tokens, see `mambats.odometry.tokens`."""
    polar, axial = [1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]
    error = axial + 2 * polar
    tokens = {
        "imu": axial + polar + 6 * [1.0] + polar,
        "wheel": [1.0, -1.0, 1.0, 1.0] + members * [1.0] + [-1.0, 1.0],
        "gnss": members * polar + 2 * members * [1.0] + polar + [1.0],
        "state": members * error + 9 * members * [1.0] + 2 * [1.0, -1.0] + [1.0],
    }
    return error, tokens


def _changed(rows: SensorRows, change: Any) -> SensorRows:
    return SensorRows(change(rows.values), change(rows.mask), change(rows.gaps), change(rows.stamps))


def _joined(parts: Sequence[SensorRows]) -> SensorRows:
    """Rows of several batches, padded behind to the longest."""
    longest = max(part.mask.shape[1] for part in parts)

    def padded(part: Tensor) -> Tensor:
        short = longest - part.shape[1]
        return torch.nn.functional.pad(part, (0, 0) * (part.ndim - 2) + (0, short)) if short else part

    columns = zip(*((p.values, p.mask, p.gaps, p.stamps) for p in parts), strict=True)
    return SensorRows(*(torch.cat([padded(part) for part in column]) for column in columns))
