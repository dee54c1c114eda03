"""Sweeps and pictures of a sequence in KITTI's tracking layout, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.kitti import read_calibration
from mambats.formats.points import read_points
from mambats.pictures.rerun import StreamView
from mambats.track.pictures.record import record_tracks
from mambats.track.pictures.scene import Scene

#: Points of a sweep that are kept for a picture, evenly; a sweep of KITTI has 120,000, and a sequence 400 sweeps.
MOST_POINTS = 30_000


class _Files(Mapping[int, Any]):
    """What lies in files `000000.EXT`, by frame."""

    def __init__(self, folder: Path, endings: tuple[str, ...]) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder. Give the one that holds a folder a sequence.")
        self.files = {int(p.stem): p for p in folder.iterdir() if p.suffix in endings and p.stem.isdigit()}

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self.files))

    def __len__(self) -> int:
        return len(self.files)

    def __contains__(self, frame: object) -> bool:
        return frame in self.files  # Mapping's own would read the file

    def __getitem__(self, frame: int) -> Any:
        raise NotImplementedError


class Sweeps(_Files):
    """Points of `velodyne/NNNN/000000.bin` in the axes of boxes: x forward, y left, z up about the camera.

    Args:
        folder: Of the sequence.
        calibration: File of the sequence.

    Raises:
        DataError: If there is no such folder or calibration.
    """

    def __init__(self, folder: Path, calibration: Path) -> None:
        super().__init__(folder, (".bin",))
        self.matrix = read_calibration(calibration).lidar_to_rect

    def __getitem__(self, frame: int) -> npt.NDArray[np.float64]:
        """Return points (P, 3) in metres, 30,000 at most."""
        table = read_points(self.files[frame], ("x", "y", "z", "intensity"))[0].astype(np.float64)
        table = table[:: max(1, -(-len(table) // MOST_POINTS)), :3]
        right, down, ahead = (table @ self.matrix[:3, :3].T + self.matrix[:3, 3]).T
        return np.stack([ahead, -right, -down], axis=1)


class Images(_Files):
    """Pictures of `image_02/NNNN/000000.png`, or .jpg.

    Args:
        folder: Of the sequence.

    Raises:
        DataError: If there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, (".png", ".jpg"))

    def __getitem__(self, frame: int) -> npt.NDArray[np.uint8]:
        """Return a picture (H, W, 3).

        Raises:
            DataError: If the file is no picture.
            ModuleNotFoundError: If Pillow is not installed.
        """
        try:
            from PIL import Image
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("pictures need Pillow: pip install 'mambats[robot]'.", name=error.name) from error
        try:
            with Image.open(self.files[frame]) as opened:
                return np.asarray(opened.convert("RGB"))
        except OSError as error:
            raise DataError(
                f"{self.files[frame]}: is no picture ({error}). Take it out, or give a whole one."
            ) from error


def record_sequence(
    scene: Scene, file: Path, calibration: Path, sweeps: Path | None = None, images: Path | None = None
) -> None:
    """Write a recording of a sequence for Rerun, with what its sensors saw where that is given.

    Args:
        scene: Of the sequence.
        file: `NAME.rrd`; its folder is made.
        calibration: Folder of `NNNN.txt`.
        sweeps: Folder of `NNNN/000000.bin`.
        images: Folder of `NNNN/000000.png`.

    Raises:
        DataError: If a folder of the sequence or a file in it is missing or broken.
    """
    points = None if sweeps is None else Sweeps(sweeps / scene.name, calibration / f"{scene.name}.txt")
    pictures = None if images is None else Images(images / scene.name)
    with StreamView(file, f"tracks of {scene.heading}") as view:
        record_tracks(scene, view, points=points, images=pictures)
