"""One point a cube of space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Generic, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.preprocess.bridge import Batch, beside, like, tensor
from mambats.series import RaggedStream

BITS = 62  # of an int64 that a voxel's key and a point's number share


class Voxels(NamedTuple, Generic[Batch]):
    """Occupied voxels in order of set, then x, y, z of the cell.

    points (M, C): one a voxel. counts (M,): points in it. cells (M, 3): its integer coordinates. sets (M,): set it
    belongs to. inverse (N,): voxel of each given point, -1 for a point that is not finite.
    """

    points: Batch
    counts: Batch
    cells: Batch
    sets: Batch
    inverse: Batch


class VoxelGrid:
    """Thin points out to one a voxel; cell = floor((p - origin) / size), worked out in float64 for any dtype.

    Exact: counts are whole, and arrays, tensors and GPUs give the same voxels in the same order.

    Args:
        size: Edge of a voxel, metres.
        reduce: The `mean` of all columns, the `first` point in the order given, or the `centre` of the cube (other
            columns from the first point).
        origin: Corner of cell (0, 0, 0), metres.
    """

    def __init__(
        self,
        size: float,
        reduce: Literal["mean", "first", "centre"] = "mean",
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        if not size > 0 or reduce not in ("mean", "first", "centre"):
            raise ValueError(f"size is {size} and reduce {reduce!r}, needed above 0 and 'mean', 'first' or 'centre'.")
        self.size = size
        self.reduce = reduce
        self.origin = origin

    def __call__(self, points: Batch, sets: npt.NDArray[Any] | Tensor | None = None) -> Voxels[Batch]:
        """Reduce points (N, C), x y z first.

        Args:
            points: Points, metres; those with a coordinate that is not finite are left out.
            sets: Whole number from 0 on of the sweep each point belongs to, (N,): voxels never join two. None for one.

        Raises:
            ValueError: If the points span more voxels than an int64 can number.
        """
        given = tensor(points)
        if given.ndim != 2 or given.shape[1] < 3:
            raise ValueError(f"points have shape {tuple(given.shape)}, needed (N, 3 or more).")
        kept = given[:, :3].isfinite().all(1).nonzero()[:, 0]
        own = torch.zeros(len(kept), dtype=torch.long) if sets is None else torch.as_tensor(sets)[kept.cpu()].long()
        origin = beside(self.origin, given.double())
        cells = ((given[kept, :3].double() - origin) / self.size).floor().long()
        cells = torch.cat([own.to(cells.device)[:, None], cells], 1)
        order, begins = _group(cells)
        made = self._reduce(given[kept], cells, order, begins)
        inverse = torch.full((len(given),), -1, dtype=torch.long, device=given.device)
        inverse[kept[order]] = torch.repeat_interleave(made[1])
        return Voxels(*(like(part, points) for part in (*made, inverse)))

    def ragged(self, sweeps: RaggedStream) -> RaggedStream:
        """Reduce each sweep of a stream with channels x y z."""
        rows = [sweeps.channels.index(name) for name in ("x", "y", "z")]
        rows += [index for index in range(len(sweeps.channels)) if index not in rows]
        sets = np.repeat(np.arange(len(sweeps)), np.diff(sweeps.splits))
        made = self(np.ascontiguousarray(sweeps.values[:, rows]), sets)
        counts = np.bincount(made.sets, minlength=len(sweeps))
        values = np.empty_like(made.points)
        values[:, rows] = made.points
        return replace(sweeps, values=values, splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def _reduce(self, points: Tensor, cells: Tensor, order: Tensor, begins: Tensor) -> tuple[Tensor, ...]:
        counts = torch.diff(begins, append=begins.new_tensor([len(order)]))
        first = order[begins]
        chosen, own = points[first], cells[first]
        if self.reduce == "mean" and len(points):
            sums = torch.segment_reduce(points[order].double(), "sum", lengths=counts, axis=0)
            chosen = (sums / counts[:, None]).to(points.dtype)
        elif self.reduce == "centre":
            centres = (own[:, 1:] + 0.5) * self.size + beside(self.origin, points.double())
            chosen = torch.cat([centres.to(points.dtype), chosen[:, 3:]], 1)
        return chosen, counts, own[:, 1:], own[:, 0]


def _group(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows in order of cell, then of row, and where each cell begins among them."""
    if not len(cells):
        return cells.new_zeros(0), cells.new_zeros(0)
    low, high = cells.amin(0), cells.amax(0)
    spans = [int(v) for v in (high - low + 1).tolist()]
    volume = int(np.prod([float(span) for span in spans]))
    if volume >= 2**BITS:
        raise ValueError(f"points span {' x '.join(map(str, spans[1:]))} voxels, too many to number: crop them first.")
    key = torch.zeros_like(cells[:, 0])
    for axis, span in enumerate(spans):
        key = key * span + (cells[:, axis] - low[axis])
    bits = max(1, (len(cells) - 1).bit_length())
    if volume.bit_length() + bits <= BITS:  # sorting one number is thrice as fast as sorting keys and moving rows
        rows = torch.arange(len(key), device=key.device)
        both = _sort(key << bits | rows)
        key, order = both >> bits, both & (1 << bits) - 1
    else:
        key, order = key.sort(stable=True)
    new = torch.ones_like(key, dtype=torch.bool)
    new[1:] = key[1:] != key[:-1]
    return order, new.nonzero()[:, 0]


def _sort(numbers: Tensor) -> Tensor:
    # On a CPU numpy sorts 120,000 int64 in 1.1 ms, torch 2.13 in 9 ms (one thread, AVX-512).
    return numbers.sort().values if numbers.is_cuda else torch.from_numpy(np.sort(numbers.numpy()))
