"""Points in upright columns: a map seen from above, and one token a sweep."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.encoders.features.cell import CellEmbedding
from mambats.encoders.features.extractor import FeatureExtractor, with_tokens
from mambats.encoders.features.grid import PointGrid
from mambats.encoders.features.sweep import flatten_sweeps
from mambats.series import SensorRows

#: Where the top view is cut for the token: means over 4 x 4 parts keep where things are, and fit any grid.
PARTS = 4

PILLARS = PointGrid(size=(1.0, 1.0, 8.0))


class PillarEncoder(FeatureExtractor):
    """Embed points, take the maximum over each pillar, convolve the top view, read one token from its parts.

    Args:
        channels: Channels C of a point, x y z first; others as they come (intensity 0 to 1, seconds).
        width: Of the map's cells and of the token.
        grid: Pillars: cells as high as the box. None is 64 m by 64 m in pillars of 1 m.
        layers: Convolutions of the token, each halving the map.

    Raises:
        ValueError: If the grid has more than one layer of cells, or a size is too small.

    Example:
        encoder = PillarEncoder(channels=4, width=64)
        token = encoder(torch.randn(2, 5, 900, 4) * 10, torch.full((2, 5), 900))  # (2, 5, 64)
        top_view = encoder.bev(torch.randn(2, 900, 4) * 10)  # (2, 64, 64, 64): rows are y, columns x

    Source: A. H. Lang et al., PointPillars, CVPR 2019.
    """

    def __init__(self, channels: int, width: int, grid: PointGrid | None = None, layers: int = 2) -> None:
        super().__init__()
        self.channels = channels
        self.width = width
        self.grid = grid
        self.layers = layers
        made = grid or PILLARS
        if made.shape[2] != 1 or layers < 0:
            raise ValueError(
                f"grid has {made.shape[2]} layers of cells and layers is {layers}: pillars need one cell from "
                f"{made.low[2]} to {made.high[2]} m, size[2] = {made.high[2] - made.low[2]}, and 0 or more layers."
            )
        self.embedding = CellEmbedding(channels, width, made)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(layers))
        self.head = nn.Linear(PARTS * PARTS * width, width)

    def bev(self, points: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return the top view (..., width, ny, nx), rows along y, columns along x, zeros where nothing is.

        Args:
            points: Shape (..., P, C), padded behind.
            counts: Points of each sweep, shape (...), or None where all exist.
        """
        flat, there = flatten_sweeps(points, counts, self.channels)
        grid = self.embedding.grid
        cells, inside = grid.cells(flat[..., :3])
        slots = torch.where(inside & there, grid.number(cells), torch.full_like(cells[..., 0], grid.volume))
        top = self.embedding(flat, cells, slots, grid.volume).mT
        return top.reshape(*points.shape[:-2], self.width, grid.shape[1], grid.shape[0])

    def forward(self, points: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return one token a sweep, (..., width); arguments as for `bev`."""
        top = self.bev(points, counts)
        x = top.flatten(0, -4) if top.ndim > 3 else top.unsqueeze(0)
        for convolution in self.convolutions:
            x = convolution(x).relu()
        parts = pooled_parts(x).flatten(1)
        return self.head(parts).reshape(*points.shape[:-2], self.width)

    def encode_rows(self, rows: SensorRows, length_ns: int) -> SensorRows:
        """Give each sweep its token; see `FeatureExtractor.encode_rows`."""
        return with_tokens(rows, self(rows.values, rows.counts))


def pooled_parts(x: Tensor) -> Tensor:
    """Return the means over PARTS x PARTS parts of maps (B, C, H, W).

    As two products: the backward pass of torch's adaptive pooling is not deterministic on a GPU.
    """
    rows, columns = (
        F.adaptive_avg_pool1d(torch.eye(size, dtype=x.dtype, device=x.device)[None], PARTS)[0] for size in x.shape[2:]
    )
    return rows.mT @ x @ columns
