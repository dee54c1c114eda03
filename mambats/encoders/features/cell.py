"""One token a cell of the points inside it: each point with where it lies in its cell, a layer, the maximum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambats.encoders.features.grid import PointGrid


class CellEmbedding(nn.Module):
    """Embed points and take the maximum over each cell, in one scatter.

    A point is told by its coordinates across the box, its other channels, and its offsets, in cells, from the mean of
    its cell's points and from the cell's middle. Points are normalised one by one (RMS), not over the batch, so that a
    sweep's tokens do not depend on what else is in the batch.

    Args:
        channels: Channels C of a point, x y z first.
        width: Of a token.
        grid: The cells.

    Source: A. H. Lang et al., PointPillars, CVPR 2019, section 2.1.
    """

    def __init__(self, channels: int, width: int, grid: PointGrid) -> None:
        super().__init__()
        if channels < 3 or width < 1:
            raise ValueError(f"channels is {channels} and width {width}: need at least 3 (x y z) and 1.")
        self.channels = channels
        self.width = width
        self.grid = grid
        self.inner = nn.Linear(channels + 6, width)
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, points: Tensor, cells: Tensor, slots: Tensor, places: int) -> Tensor:
        """Return tokens (N, places, width), at least 0, zeros where no point lies.

        Args:
            points: Shape (N, P, C).
            cells: Of each point, shape (N, P, 3).
            slots: Place of each point's cell in its sweep, shape (N, P) int64; `places` for points to leave out.
            places: Number of places.
        """
        rows = (slots + torch.arange(len(slots), device=slots.device).unsqueeze(1) * (places + 1)).flatten()
        size = len(slots) * (places + 1)
        inner = self.inner(self._decorate(points, cells, rows, size)).to(self.inner.weight.dtype)  # as `Embedding` does
        token = self.norm(inner).relu().flatten(0, 1)
        wide = rows.unsqueeze(1).expand_as(token)
        held = token.new_zeros(size, self.width).scatter_reduce(0, wide, token, "amax")
        return held.unflatten(0, (len(slots), places + 1))[:, :places]

    def _decorate(self, points: Tensor, cells: Tensor, rows: Tensor, size: int) -> Tensor:
        """Put offsets beside the points: (N, P, C + 6), in the dtype of the weights."""
        from_middle = self.grid.offsets(points[..., :3], cells)
        flat = from_middle.flatten(0, 1)
        sums = flat.new_zeros(size, 3).index_add(0, rows, flat)
        counts = flat.new_zeros(size).index_add(0, rows, torch.ones_like(flat[:, 0]))
        from_mean = from_middle - (sums / counts.clamp_min(1).unsqueeze(1)).index_select(0, rows).view_as(from_middle)
        parts = (self.grid.normalised(points[..., :3]), points[..., 3:], from_mean, from_middle)
        return torch.cat([part.to(self.inner.weight.dtype) for part in parts], -1)
