"""Levels of pixels to what a network was trained on, and exactly back."""

from __future__ import annotations

import torch

from mambats.preprocess.bridge import Batch, like
from mambats.preprocess.image.pixels import as_tensor


class Normalise:
    """Give (level / 255 - mean) / deviation as float32 planes (..., C, H, W); the inverse is exact for all 256 levels.

    Args:
        mean: One a channel, or one for all; the default is ImageNet's.
        deviation: Likewise.
    """

    def __init__(
        self,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        deviation: tuple[float, ...] = (0.229, 0.224, 0.225),
    ) -> None:
        if len(mean) != len(deviation) or not all(value > 0 for value in deviation):
            raise ValueError(f"mean {mean} and deviation {deviation}: needed one each a channel, deviations above 0.")
        self.mean = mean
        self.deviation = deviation
        self._scale = 1 / (255 * torch.tensor(deviation, dtype=torch.float64))
        self._shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(deviation, dtype=torch.float64)

    @classmethod
    def fit(cls, images: Batch) -> Normalise:
        """Learn mean and deviation of each channel from uint8 pictures (..., H, W, C); a flat channel keeps 1."""
        levels = as_tensor(images).flatten(0, -2).double() / 255
        deviation = levels.std(0, correction=0)
        return cls(tuple(levels.mean(0).tolist()), tuple(deviation.where(deviation > 0, 1.0).tolist()))

    def __call__(self, images: Batch) -> Batch:
        """Normalise uint8 pictures (..., H, W, C)."""
        given = as_tensor(images)
        if given.dtype != torch.uint8:
            raise ValueError(f"images are {given.dtype}, needed uint8: levels from 0 to 255.")
        self._check(given.shape[-1])
        scale, shift = (part.float().to(given.device) for part in (self._scale, self._shift))
        planes = given.movedim(-1, -3).contiguous().float()
        return like(planes.mul_(scale[:, None, None]).add_(shift[:, None, None]), images)

    def inverse(self, planes: Batch) -> Batch:
        """Return uint8 pictures (..., H, W, C) of planes (..., C, H, W), rounded and clipped."""
        given = planes if isinstance(planes, torch.Tensor) else torch.from_numpy(planes)
        self._check(given.shape[-3])
        scale, shift = (part.to(given.device)[:, None, None] for part in (self._scale, self._shift))
        levels = ((given.double() - shift) / scale).round().clamp(0, 255).byte()
        return like(levels.movedim(-3, -1).contiguous(), planes)

    def _check(self, channels: int) -> None:
        if len(self.mean) not in (1, channels):
            raise ValueError(f"pictures have {channels} channels, mean and deviation {len(self.mean)}: give one each.")
