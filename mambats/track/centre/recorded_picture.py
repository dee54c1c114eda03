"""Pictures of recordings, cut and scaled to what a model reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mambats.formats.error import DataError
from mambats.series import Recording


@dataclass(frozen=True)
class RecordedPicture:
    """The picture of one camera of a recording: its middle, cut to the shape that is asked for, and scaled.

    Args:
        stream: Name of the pictures in the recording, of a camera whose lens is known.
        size: Height and width in pixels that the model reads.

    Raises:
        DataError: If a size is not positive; from `taken`, if the recording lacks the camera, its lens or its place.
    """

    stream: str
    size: tuple[int, int] = (64, 192)

    def __post_init__(self) -> None:
        """Check the size."""
        if min(self.size) < 1:
            raise DataError(f"size is {self.size}: needed at least one pixel each way.")

    def taken(self, recording: Recording, lidar: str, stamp: int) -> tuple[Tensor, Tensor]:
        """Return the picture nearest to a stamp, (3, H, W) uint8, and the projection (3, 4) float64 from the LiDAR.

        Args:
            recording: With the pictures and the frames.
            lidar: Frame of the points.
            stamp: Of the sweep, nanoseconds.
        """
        stream = recording.images.get(self.stream)
        if stream is None or stream.intrinsics is None:
            known = ", ".join(recording.images) or "none"
            raise DataError(f"{recording.name}: has no pictures {self.stream!r} with a known lens; pictures: {known}.")
        place = torch.from_numpy(recording.frames.transform(stream.frame, lidar))
        image = stream.image(int(np.abs(stream.stamps - stamp).argmin()))
        image = np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image
        cut, lens = self._cut(torch.from_numpy(image.copy()).movedim(-1, 0))
        return cut, lens @ torch.from_numpy(stream.intrinsics) @ place[:3]

    def _cut(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the picture (3, H, W) and what maps the pixels of the whole to its own, (3, 3)."""
        rows, columns = image.shape[1:]
        scale = max(self.size[0] / rows, self.size[1] / columns)
        high, wide = min(rows, round(self.size[0] / scale)), min(columns, round(self.size[1] / scale))
        top, left = (rows - high) // 2, (columns - wide) // 2
        part = image[None, :, top : top + high, left : left + wide].float()
        made = torch.nn.functional.interpolate(part, self.size, mode="bilinear", antialias=True, align_corners=False)
        along, down = self.size[1] / wide, self.size[0] / high
        # Pixel 0 is the middle of the first one, before and after.
        lens = torch.tensor(
            [
                [along, 0.0, along * (0.5 - left) - 0.5],
                [0.0, down, down * (0.5 - top) - 0.5],
                [0.0, 0.0, 1.0],
            ],
            dtype=torch.float64,
        )
        return made[0].round().clamp(0, 255).to(torch.uint8), lens
