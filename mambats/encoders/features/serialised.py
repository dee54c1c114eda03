"""Voxels put in line along space-filling curves and read by state-space layers, both ways, a curve a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.encoders.bidirectional import BidirectionalBlock, Borders
from mambats.encoders.compact import Packing, blank_removed
from mambats.encoders.features.cell import CellEmbedding
from mambats.encoders.features.curve import ORDERS, Order, encode_cells
from mambats.encoders.features.extractor import FeatureExtractor, with_tokens
from mambats.encoders.features.grid import PointGrid
from mambats.encoders.features.sweep import flatten_sweeps
from mambats.encoders.features.voxels import Occupied, find_voxels
from mambats.mixers import MambaSettings, MixerSettings
from mambats.series import SensorRows


class Line(NamedTuple):
    """Voxels of all sweeps behind one another along one curve.

    Attributes:
        order: Flat voxel n * V + v at each place, shape (N V,); voxels that do not exist come last.
        place: The inverse.
        gaps: Distance from the voxel before, in cells, shape (1, N V); 1 at the beginning of a sweep.
    """

    order: Tensor
    place: Tensor
    gaps: Tensor


class VoxelEncoder(FeatureExtractor):
    """Embed the points of each occupied voxel, mix voxels along curves, read one token a sweep or a top view.

    Layer k reads along `orders[k % len(orders)]`, so that neighbours that one curve parts are together on another.
    The distance between voxels that follow one another takes the place of time: it scales the decay of the state,
    so that what was seen across a void fades, as after a pause.

    Args:
        channels: Channels C of a point, x y z first; others as they come (intensity 0 to 1, seconds).
        width: Of voxels and of the token.
        layers: Bidirectional layers; 0 leaves mixing out.
        grid: Voxels. None is 64 m by 64 m by 8 m in voxels of 1 m.
        orders: Curves, taken in turn: hilbert, hilbert_yx, morton, morton_yx, raster, shuffled.
        mixer: The mixer of each direction of each layer; None is `MambaSettings()`.
        most: Voxels that are kept, those nearest to the sensor; None keeps all, at most one a point.
        distance: Whether distances between voxels are gaps; else each voxel follows at a gap of 1.

    Raises:
        ValueError: If a size is too small or an order unknown.

    Source: X. Wu et al., Point Transformer V3, CVPR 2024, section 4.1 (orders in turn, swapped axes); Z. Liu et al.,
        LION, NeurIPS 2024 (linear recurrence over voxels). Distances as gaps are ours.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int = 2,
        grid: PointGrid | None = None,
        orders: Sequence[Order] = ("hilbert", "hilbert_yx"),
        mixer: MixerSettings | None = None,
        most: int | None = None,
        distance: bool = True,
    ) -> None:
        super().__init__()
        if layers < 0 or not orders or (most is not None and most < 1):
            raise ValueError(f"layers is {layers}, orders {orders}, most {most}: need 0, one order and 1 at least.")
        if unknown := [order for order in orders if order not in ORDERS]:
            raise ValueError(f"orders names {unknown}: choose of {', '.join(ORDERS)}.")
        self.channels = channels
        self.width = width
        self.layers = layers
        self.grid = grid
        self.orders = tuple(orders)
        self.mixer = mixer
        self.most = most
        self.distance = distance
        self.embedding = CellEmbedding(channels, width, grid or PointGrid())
        self.place = nn.Linear(3, width)
        settings = mixer or MambaSettings()
        self.blocks = nn.ModuleList(
            BidirectionalBlock(settings.build(width), settings.build(width)) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Linear(2 * width + 1, width)

    def forward(self, points: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return one token a sweep, (..., width): of the mean and the maximum over its voxels, and their number.

        Args:
            points: Shape (..., P, C), padded behind.
            counts: Points of each sweep, shape (...), or None where all exist.
        """
        token, voxels = self._voxels(points, counts)
        number = voxels.mask.sum(1, keepdim=True)
        mean = token.sum(1) / number.clamp_min(1)
        # A row behind the last, so that a sweep without voxels has a maximum: the lowest number, taken out after.
        most = F.pad(token.masked_fill(~voxels.mask.unsqueeze(-1), -torch.inf), (0, 0, 0, 1), value=-torch.inf).amax(1)
        most = most.masked_fill(number == 0, 0.0)
        pooled = self.head(torch.cat([mean, most, torch.log1p(number.to(mean.dtype)) / 8], -1))
        return pooled.reshape(*points.shape[:-2], self.width)

    def bev(self, points: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return the top view (..., width, ny, nx): the maximum over each column of voxels, zeros where nothing is."""
        token, voxels = self._voxels(points, counts)
        nx, ny, _ = self.embedding.grid.shape
        column = voxels.cells[..., 1] * nx + voxels.cells[..., 0]
        column = column.masked_fill(~voxels.mask, nx * ny).unsqueeze(-1).expand_as(token)
        top = token.new_zeros(len(token), nx * ny + 1, self.width)
        top = top.scatter_reduce(1, column, token, "amax", include_self=False)[:, :-1]
        return top.mT.reshape(*points.shape[:-2], self.width, ny, nx)

    def _voxels(self, points: Tensor, counts: Tensor | None) -> tuple[Tensor, Occupied]:
        """Return tokens (N, V, width) of the voxels, zeros where there is none, and the voxels."""
        flat, there = flatten_sweeps(points, counts, self.channels)
        grid = self.embedding.grid
        cells, inside = grid.cells(flat[..., :3])
        voxels = find_voxels(cells, inside & there, grid, self.most)
        token = self.embedding(flat, cells, voxels.slots, voxels.mask.shape[1])
        middles = grid.normalised(grid.centres(voxels.cells)).to(token.dtype)
        token = self._mix(token + self.place(middles), voxels)
        return blank_removed(self.norm(token), voxels.mask), voxels

    def _mix(self, token: Tensor, voxels: Occupied) -> Tensor:
        """Pass tokens (N, V, width) through the layers, each along its curve."""
        packing = Packing.of(voxels.mask)
        lines = {order: self._line(voxels, order, packing) for order in set(self.orders[: len(self.blocks)])}
        borders = Borders(packing.cu_seqlens, packing.cu_seqlens)
        flat = token.flatten(0, 1)
        for number, block in enumerate(self.blocks):
            line = lines[self.orders[number % len(self.orders)]]
            gaps = line.gaps.to(torch.promote_types(token.dtype, torch.float32)) if self.distance else None
            mixed = block(flat.index_select(0, line.order).unsqueeze(0), gaps, borders)
            flat = mixed[0].index_select(0, line.place)
        return flat.view_as(token)

    def _line(self, voxels: Occupied, order: Order, packing: Packing) -> Line:
        """Put the voxels of each sweep in line along a curve."""
        codes = encode_cells(voxels.cells, self.embedding.grid.bits, order)
        ranked = codes.masked_fill(~voxels.mask, torch.iinfo(torch.int64).max).argsort(dim=1)
        sweeps, room = voxels.mask.shape
        flat = (ranked + torch.arange(sweeps, device=ranked.device).unsqueeze(1) * room).flatten()
        flat = flat.index_select(0, packing.order)
        place = torch.empty_like(flat).scatter(0, flat, torch.arange(len(flat), device=flat.device))
        cells, sweep = voxels.cells.flatten(0, 1).index_select(0, flat).double(), flat // max(room, 1)
        gaps = torch.ones(1, len(flat), dtype=torch.float64, device=flat.device)
        far = (cells[1:] - cells[:-1]).norm(dim=-1)
        gaps[0, 1:] = torch.where(sweep[1:] == sweep[:-1], far, torch.ones_like(far))
        return Line(flat, place, gaps)

    def encode_rows(self, rows: SensorRows, length_ns: int) -> SensorRows:
        """Give each sweep its token; see `FeatureExtractor.encode_rows`."""
        return with_tokens(rows, self(rows.values, rows.counts))
