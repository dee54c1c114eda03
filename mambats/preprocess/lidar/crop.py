"""Leave points out by where they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from mambats.preprocess.bridge import Batch, beside, like, tensor
from mambats.series import RaggedStream


class CropBox:
    """Keep points in a box along the axes, or outside of it (the robot's own body); borders are inside.

    Args:
        low: Least x y z, metres; -inf for no border.
        high: Largest x y z, metres.
        keep: `inside` or `outside`. Points that are not finite are never kept.
    """

    def __init__(
        self,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        keep: Literal["inside", "outside"] = "inside",
    ) -> None:
        if keep not in ("inside", "outside") or any(a >= b for a, b in zip(low, high, strict=True)):
            raise ValueError(f"low {low} must be below high {high}, and keep ({keep!r}) 'inside' or 'outside'.")
        self.low = low
        self.high = high
        self.keep = keep

    def mask(self, points: Batch) -> Batch:
        """Tell which points (..., 3 or more) are kept, (...)."""
        given = tensor(points)[..., :3]
        inside = ((given >= beside(self.low, given)) & (given <= beside(self.high, given))).all(-1)
        kept = inside if self.keep == "inside" else ~inside & given.isfinite().all(-1)
        return like(kept, points)

    def __call__(self, points: Batch) -> Batch:
        """Return the kept points of (N, 3 or more)."""
        return cast(Batch, points[self.mask(points)])

    def ragged(self, sweeps: RaggedStream) -> RaggedStream:
        """Crop each sweep of a stream with channels x y z."""
        return keep_rows(sweeps, self.mask(columns(sweeps)))


class CropRange:
    """Keep points at a distance: too near is the robot itself, too far is sparse and noisy.

    Args:
        near: Least distance to the sensor, metres.
        far: Largest, metres; inf for none.
    """

    def __init__(self, near: float = 0.0, far: float = float("inf")) -> None:
        if not 0 <= near < far:
            raise ValueError(f"near is {near} and far {far}: needed 0 <= near < far.")
        self.near = near
        self.far = far

    def mask(self, points: Batch) -> Batch:
        """Tell which points (..., 3 or more) are kept, (...)."""
        square = tensor(points)[..., :3].square().sum(-1)
        return like((square >= self.near**2) & (square <= self.far**2) & square.isfinite(), points)

    def __call__(self, points: Batch) -> Batch:
        """Return the kept points of (N, 3 or more)."""
        return cast(Batch, points[self.mask(points)])

    def ragged(self, sweeps: RaggedStream) -> RaggedStream:
        """Crop each sweep of a stream with channels x y z."""
        return keep_rows(sweeps, self.mask(columns(sweeps)))


def columns(sweeps: RaggedStream, names: tuple[str, ...] = ("x", "y", "z")) -> npt.NDArray[np.floating]:
    """Return named columns of all rows, (N, names).

    Raises:
        ValueError: If the stream lacks one; names it.
    """
    if lacking := [name for name in names if name not in sweeps.channels]:
        raise ValueError(f"the stream has channels {', '.join(sweeps.channels)}: {lacking[0]!r} is missing.")
    at = [sweeps.channels.index(name) for name in names]
    return sweeps.values[:, at]


def keep_rows(sweeps: RaggedStream, kept: npt.NDArray[np.bool_]) -> RaggedStream:
    """Return the stream with only the rows where `kept` (N,) is True; sweeps stay, if need be empty."""
    splits = np.concatenate([[0], np.cumsum(kept)])[sweeps.splits]
    return replace(sweeps, values=sweeps.values[kept], splits=splits.astype(np.int64))
