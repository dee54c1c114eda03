"""Pictures seen from above: every cell of the top view looks up the patches that it would be seen in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.track.centre.codes import Cells

CLOSE = 0.5  # m before the camera from which something is seen
#: Metres over the sensor at which a cell is looked up: at a sensor 1.8 m high, the ground, a car's middle, a head.
HEIGHTS = (-1.7, -0.9, -0.1)


class Patches(Protocol):
    """What tells tokens of patches: `mambats.encoders.features.ImageEncoder` is one."""

    width: int
    size: tuple[int, int]
    patch: int

    def patches(self, images: Tensor) -> Tensor:
        """Return a token a patch, (N, rows, columns, width), of pictures (N, C, H, W)."""
        ...


class ImageLift(nn.Module):
    """Lift patches to the top view: no depth is guessed, each cell reads where the camera would see it.

    The middle of a cell is projected at several heights; each height has its own map of the tokens, read there with
    bilinear weights, and the maps are summed. Cells that no camera sees stay zero, and so do those of a camera whose
    projection holds NaN: a camera that is off. Several cameras are summed.

    Args:
        encoder: Makes tokens of patches (an `ImageEncoder`).
        width: Channels of the top view.
        heights: At which cells are looked up, metres over the sensor; at least one.

    Raises:
        ValueError: If the encoder tells no patches, or a number is too small.

    Source: A. W. Harley et al., Simple-BEV, ICRA 2023, section 3 (bilinear look-up in place of a depth); S. Vora
        et al., PointPainting, CVPR 2020, for points.
    """

    def __init__(self, encoder: nn.Module, width: int, heights: Sequence[float] = HEIGHTS) -> None:
        super().__init__()
        if not hasattr(encoder, "patches"):
            raise ValueError(f"encoder is {type(encoder).__name__}: needed one that tells `patches`.")
        if width < 1 or not heights:
            raise ValueError(f"width is {width}, heights are {list(heights)}: needed at least 1, and one height.")
        self.encoder, self.width, self.heights = encoder, width, tuple(heights)
        told: Patches = encoder  # pyright: ignore[reportAssignmentType]
        self.maps = nn.Linear(told.width, width * len(self.heights))

    def forward(self, images: Tensor, projection: Tensor, cells: Cells) -> Tensor:
        """Return the top view (B, width, ny, nx), zeros where no camera looks.

        Args:
            images: Shape (B, N, C, H, W) of N cameras.
            projection: From the sensor's frame to their pixels, shape (B, N, 3, 4); pixel 0 is the middle of the first.
            cells: The grid.

        Raises:
            ValueError: If shapes do not fit.
        """
        if images.ndim != 5 or projection.shape != (*images.shape[:2], 3, 4):
            raise ValueError(
                f"images have shape {tuple(images.shape)}, projection {tuple(projection.shape)}: needed "
                "(B, N, C, H, W) and (B, N, 3, 4)."
            )
        nx, ny, _ = cells.shape
        tokens = self.maps(self.encoder.patches(images.flatten(0, 1)))  # pyright: ignore[reportCallIssue]
        maps = tokens.permute(0, 3, 1, 2).unflatten(1, (len(self.heights), self.width))
        place = middles(cells, projection)
        top = tokens.new_zeros(len(tokens), self.width, ny, nx)
        for number, height in enumerate(self.heights):
            there = torch.cat([place, torch.full_like(place[..., :1], height)], -1)
            look = self._look(there.flatten(0, 1), projection.flatten(0, 1)).unflatten(1, (ny, nx))
            read = F.grid_sample(maps[:, number].to(look), look, padding_mode="zeros", align_corners=False)
            seen = (look.abs() <= 1).all(-1)[:, None]
            top = top + torch.where(seen, read, 0.0).to(top)
        return top.unflatten(0, images.shape[:2]).sum(1)

    def _look(self, points: Tensor, projection: Tensor) -> Tensor:
        """Where points (P, 3) fall in pictures (N, 3, 4): (N, P, 2), -1 to 1 from edge to edge, 9 where not seen."""
        told: Patches = self.encoder  # pyright: ignore[reportAssignmentType]
        pixel = points @ projection[..., :3].mT + projection[:, None, :, 3]
        depth = pixel[..., 2:]
        size = points.new_tensor([told.size[1], told.size[0]])
        look = (pixel[..., :2] / depth.clamp_min(CLOSE) + 0.5) / size * 2 - 1
        return torch.where((depth > CLOSE) & look.isfinite(), look, 9.0)


def middles(cells: Cells, like: Tensor) -> Tensor:
    """Middles (ny, nx, 2) of all cells, metres, on the device of a tensor, float32."""
    x, y = (
        low + size * (torch.arange(count, device=like.device, dtype=torch.float32) + 0.5)
        for low, size, count in zip(cells.low[:2], cells.size[:2], cells.shape[:2], strict=True)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
