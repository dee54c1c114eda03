"""Convolutions over a top view that say at every cell whether a body's middle lies there, and its box."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.track.centre.codes import CODE, VARIED

#: Heat at the start: one cell in a hundred thought to hold a middle (Lin et al., Focal loss, ICCV 2017, section 4.1).
PRIOR = 0.01
#: Bounds of the logarithms of variances: deviations of 1 cm and of 20 m (or rad, or m/s).
LEAST, MOST = -9.2, 6.0


class CentreMaps(NamedTuple):
    """What a head says of every cell."""

    heat: Tensor  # (B, K, ny, nx) logits
    code: Tensor  # (B, 10, ny, nx)
    spread: Tensor  # (B, 9, ny, nx) logarithms of variances


class CentreHead(nn.Module):
    """A small pyramid over a top view, and three readings of it.

    Args:
        width: Channels of the top view.
        classes: K.
        inner: Channels inside.
        levels: How often the map is halved, and brought back.

    Raises:
        ValueError: If a number is too small.

    Source: T. Yin et al., Center-based 3D object detection and tracking (CenterPoint), CVPR 2021, section 4.
    """

    def __init__(self, width: int, classes: int, inner: int = 64, levels: int = 2) -> None:
        super().__init__()
        if min(width, classes) < 1 or inner < 8 or inner % 8 or levels < 0:
            raise ValueError(
                f"width is {width}, classes {classes}, inner {inner}, levels {levels}: need 1 or more each, inner in "
                "eights, and 0 or more levels."
            )
        self.width, self.classes, self.inner, self.levels = width, classes, inner, levels
        self.stem = _convolution(width, inner)
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(inner, inner, 2), _convolution(inner, inner)) for _ in range(levels)
        )
        self.join = nn.ModuleList(_convolution(2 * inner, inner) for _ in range(levels))
        self.shared = _convolution(inner, inner)
        self.heat, self.code, self.spread = (nn.Conv2d(inner, count, 1) for count in (classes, CODE, VARIED))
        nn.init.constant_(self.heat.bias, torch.logit(torch.tensor(PRIOR)).item())  # pyright: ignore[reportArgumentType]

    def forward(self, top: Tensor) -> CentreMaps:
        """Return maps of a top view (B, width, ny, nx)."""
        views = [self.stem(top)]
        for step in self.down:
            views.append(step(views[-1]))
        x = views.pop()
        for step in self.join:
            beside = views.pop()
            x = step(torch.cat([nn.functional.interpolate(x, size=beside.shape[2:]), beside], 1))
        x = self.shared(x)
        return CentreMaps(self.heat(x), self.code(x), self.spread(x).clamp(LEAST, MOST))


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.GroupNorm(8, out), nn.SiLU())
