"""Pictures cut into patches and read by state-space layers, both ways."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mambats.encoders.bidirectional import BidirectionalBlock, Borders
from mambats.encoders.features.curve import encode_cells
from mambats.encoders.features.extractor import FeatureExtractor, with_tokens
from mambats.mixers import MambaSettings, MixerSettings
from mambats.series import SensorRows


class ImageEncoder(FeatureExtractor):
    """Embed patches, say where each lies, mix them both ways along a line, read one token a picture.

    Args:
        channels: Channels C of a picture: 1 grey, 3 red green blue, more where pictures are stacked.
        width: Of a token.
        layers: Bidirectional layers; 0 leaves mixing out.
        size: Height and width of the pictures, pixels, each a multiple of `patch`.
        patch: Side of a patch, pixels.
        pool: How one token is read: the `mean` of the patches, or the `class` token, which stands in the middle of
            the line so that both directions pass it half way.
        order: How patches stand in line: row by row, or along a Hilbert curve.
        mixer: The mixer of each direction of each layer; None is `MambaSettings()`.

    Raises:
        ValueError: If the size is no multiple of the patch, a number too small, or a name unknown.

    Example:
        encoder = ImageEncoder(3, 64, layers=2, size=(64, 96))
        token = encoder(torch.randint(256, (2, 10, 3, 64, 96), dtype=torch.uint8))  # (2, 10, 64)

    Source: L. Zhu et al., Vision Mamba (Vim), ICML 2024, section 3 (bidirectional layers, middle class token). A layer
        here has a whole mixer a direction, where Vim's directions share their gate and projections.
    """

    line: Tensor

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int = 2,
        size: tuple[int, int] = (64, 96),
        patch: int = 8,
        pool: Literal["mean", "class"] = "mean",
        order: Literal["raster", "hilbert"] = "raster",
        mixer: MixerSettings | None = None,
    ) -> None:
        super().__init__()
        if min(channels, width, patch, *size) < 1 or layers < 0 or size[0] % patch or size[1] % patch:
            raise ValueError(
                f"channels is {channels}, width {width}, layers {layers}, size {size}, patch {patch}: need at least 1 "
                "each (layers 0) and a size in whole patches. Crop or resize, or take another patch."
            )
        if pool not in ("mean", "class") or order not in ("raster", "hilbert"):
            raise ValueError(f"pool is {pool!r}, order {order!r}: need 'mean' or 'class', and 'raster' or 'hilbert'.")
        self.channels = channels
        self.width = width
        self.layers = layers
        self.size = size
        self.patch = patch
        self.pool = pool
        self.order = order
        self.mixer = mixer
        rows, columns = size[0] // patch, size[1] // patch
        self.embedding = nn.Conv2d(channels, width, patch, patch)
        self.place = nn.Parameter(torch.randn(rows * columns, width) * 0.02)  # as in ViT and Vim
        self.register_buffer("line", _line(rows, columns, order), persistent=False)
        if pool == "class":
            self.token = nn.Parameter(torch.randn(width) * 0.02)
        settings = mixer or MambaSettings()
        self.blocks = nn.ModuleList(
            BidirectionalBlock(settings.build(width), settings.build(width)) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, images: Tensor) -> Tensor:
        """Return one token a picture, (..., width).

        Args:
            images: Shape (..., C, H, W): uint8 (0 to 255 becomes -1 to 1) or float as it comes, of about that size.
        """
        token, middle = self._mix(images)
        pooled = token[:, middle] if self.pool == "class" else token.mean(1)
        return pooled.reshape(*images.shape[:-3], self.width)

    def patches(self, images: Tensor) -> Tensor:
        """Return a token a patch, (..., rows, columns, width)."""
        token, middle = self._mix(images)
        if self.pool == "class":
            token = torch.cat([token[:, :middle], token[:, middle + 1 :]], 1)
        back = token.index_select(1, self.line.argsort())
        return back.reshape(*images.shape[:-3], self.size[0] // self.patch, self.size[1] // self.patch, self.width)

    def _mix(self, images: Tensor) -> tuple[Tensor, int]:
        """Return tokens (N, patches [+ 1], width) in line, and where the class token stands or would stand."""
        middle = len(self.line) // 2
        embedded = self.embedding(self._check(images)).flatten(2).mT.to(self.place.dtype) + self.place
        token = embedded.index_select(1, self.line)
        if self.pool == "class":
            own = self.token.expand(len(token), 1, -1)
            token = torch.cat([token[:, :middle], own, token[:, middle:]], 1)
        for block in self.blocks:
            token = block(token, None, Borders())
        return self.norm(token), middle

    def _check(self, images: Tensor) -> Tensor:
        """Return pictures (N, C, H, W) as floats.

        Raises:
            ValueError: If the shape or dtype is another.
        """
        need = (self.channels, *self.size)
        if images.ndim < 3 or images.shape[-3:] != need:
            raise ValueError(
                f"images have shape {tuple(images.shape)}: need (..., {', '.join(map(str, need))}), channels before "
                "rows. Move the axes, resize, or build the encoder for these."
            )
        flat = images.reshape(images.shape[:-3].numel(), *need)
        if flat.dtype == torch.uint8:
            return flat.to(self.place.dtype) / 127.5 - 1
        if not flat.dtype.is_floating_point:
            raise ValueError(f"images have dtype {images.dtype}: need uint8 or a float dtype.")
        return flat

    def encode_rows(self, rows: SensorRows, length_ns: int) -> SensorRows:
        """Give each picture (B, T, C, H, W) its token; see `FeatureExtractor.encode_rows`."""
        there = rows.mask[..., None, None, None]  # what is not there may hold anything, also NaN
        return with_tokens(rows, self(torch.where(there, rows.values, torch.zeros_like(rows.values))))


def _line(rows: int, columns: int, order: str) -> Tensor:
    """Return the patches, counted row by row, in the order of the line."""
    if order == "raster":
        return torch.arange(rows * columns)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    bits = max(1, (max(rows, columns) - 1).bit_length())
    return encode_cells(torch.stack([x, y], -1).reshape(-1, 2), bits).argsort()
