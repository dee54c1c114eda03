"""A stream of pictures that stay encoded until one is asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambats.series.clock import Stamps, check_clock


@dataclass(frozen=True)
class ImageStream:
    """Pictures on one clock: files, encoded bytes (JPEG, PNG), or arrays.

    Args:
        stamps: Times in int64 nanoseconds, shape (T,), rising.
        pictures: One a stamp: the path of a file, encoded bytes, or uint8 of shape (H, W) or (H, W, 3), RGB.
        frame: Optical frame id (REP-103: x right, y down, z forward), empty when none.
        intrinsics: Pinhole camera matrix in pixels, shape (3, 3), or None where it is not known.
        distortion: Coefficients k1 k2 p1 p2 [k3 ...] of the plumb-bob model, empty when undistorted or not known.

    Raises:
        ValueError: If shapes disagree or stamps do not rise.
    """

    stamps: Stamps
    pictures: Sequence[Path | bytes | npt.NDArray[np.uint8]]
    frame: str = ""
    intrinsics: npt.NDArray[np.float64] | None = None
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check shapes and the clock."""
        if len(self.pictures) != len(self.stamps):
            raise ValueError(f"there are {len(self.pictures)} pictures and {len(self.stamps)} stamps: one each.")
        if self.intrinsics is not None and self.intrinsics.shape != (3, 3):
            raise ValueError(f"intrinsics have shape {self.intrinsics.shape}, needed (3, 3).")
        check_clock(self.stamps)

    def image(self, row: int) -> npt.NDArray[np.uint8]:
        """Decode the picture of one stamp: uint8 of shape (H, W) or (H, W, 3), RGB.

        Raises:
            ValueError: If the picture cannot be decoded.
            ModuleNotFoundError: If Pillow, which decodes, is not installed (`pip install 'mambats[robot]'`).
        """
        picture = self.pictures[row]
        if isinstance(picture, np.ndarray):
            return picture
        from PIL import Image, UnidentifiedImageError  # lazily: a robot without pictures needs none

        try:
            with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
                return np.asarray(opened if opened.mode == "L" else opened.convert("RGB"), dtype=np.uint8)
        except (UnidentifiedImageError, OSError) as error:
            where = f"{len(picture)} bytes" if isinstance(picture, bytes) else str(picture)
            raise ValueError(f"picture {row} ({where}) cannot be decoded: {error}. Is the file whole?") from error

    def __len__(self) -> int:
        """Return the number of stamps."""
        return len(self.stamps)
