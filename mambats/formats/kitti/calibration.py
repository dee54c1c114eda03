"""Calibration of KITTI's sensors: text files in all their spellings to a tree of frames and pinhole cameras.

Frames: `lidar` and `imu` (x forward, y left, z up), `camera_rect` (rectified camera 0) and `camera_0` to `camera_3`
(x right, y down, z forward). The four cameras are rectified: they differ from `camera_rect` by a shift alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.series import FrameTree, Rigid

Matrix = npt.NDArray[np.float64]
Base = Literal["lidar", "camera_rect", "imu"]

#: Spellings of a key, the tracking benchmark's first.
SPELLINGS = {
    "R_rect": ("R_rect", "R0_rect", "R_rect_00"),
    "Tr_velo_cam": ("Tr_velo_cam", "Tr_velo_to_cam", "Tr"),
    "Tr_imu_velo": ("Tr_imu_velo", "Tr_imu_to_velo"),
}
ROUNDED = 1e-3  # how far from orthonormal a rotation may be: four printed digits
_LINE = re.compile(r"\s*([A-Za-z]\w*)\s*:?\s+(.*)")


@dataclass(frozen=True)
class Calibration:
    """Where KITTI's sensors sit and how its cameras project, with the file's own numbers.

    Args:
        projections: By camera (0 to 3) the matrix P of shape (3, 4) in pixels: maps points of `camera_rect`, in
            metres, to homogeneous pixels.
        rectify: Rotation from camera 0 to `camera_rect`, shape (3, 3).
        lidar_to_camera: Maps points of `lidar` to camera 0 before rectification, shape (4, 4).
        imu_to_lidar: Maps points of `imu` to `lidar`, shape (4, 4), None where the file has none (odometry).
    """

    projections: Mapping[int, Matrix]
    rectify: Matrix
    lidar_to_camera: Matrix
    imu_to_lidar: Matrix | None = None

    @property
    def lidar_to_rect(self) -> Matrix:
        """Maps points of `lidar` to `camera_rect`, shape (4, 4)."""
        turn = np.eye(4)
        turn[:3, :3] = self.rectify
        return turn @ self.lidar_to_camera

    def intrinsics(self, camera: int = 2) -> Matrix:
        """Pinhole matrix of a rectified camera in pixels, shape (3, 3).

        Raises:
            DataError: If there is no such camera.
        """
        return self.projection(camera)[:, :3].copy()

    def projection(self, camera: int = 2) -> Matrix:
        """The matrix P of a camera, shape (3, 4).

        Raises:
            DataError: If there is no such camera.
        """
        if camera not in self.projections:
            raise DataError(f"there is no camera {camera}, the calibration has {sorted(self.projections)}.")
        return self.projections[camera]

    def frames(self, base: Base = "lidar") -> FrameTree:
        """Return the tree of all frames with `base` as its root.

        Raises:
            DataError: If the base is not one of these, or the calibration does not reach it.
            ValueError: If a matrix is not a rigid transform.
        """
        if base not in ("lidar", "camera_rect", "imu"):
            raise DataError(f"base is {base!r}: choose lidar, camera_rect or imu.")
        if base == "imu" and self.imu_to_lidar is None:
            raise DataError("base is 'imu', but the calibration has no Tr_imu_velo: choose lidar or camera_rect.")
        rect, imu = self.lidar_to_rect, self.imu_to_lidar
        if base == "camera_rect":
            edges = [Rigid.from_matrix("camera_rect", "lidar", rect)]
        else:
            edges = [Rigid.from_matrix("lidar", "camera_rect", _inverse(rect))]
        if imu is not None and base == "imu":
            edges.insert(0, Rigid.from_matrix("imu", "lidar", _inverse(imu)))
        elif imu is not None:
            edges.append(Rigid.from_matrix("lidar", "imu", imu))
        return FrameTree((*edges, *(self._camera(number) for number in sorted(self.projections))))

    def _camera(self, number: int) -> Rigid:
        """P = K [I | t]: the camera sees points of `camera_rect` shifted by t."""
        matrix = self.projections[number]
        a, b, c = (-float(v) for v in np.linalg.solve(matrix[:, :3], matrix[:, 3]))
        return Rigid("camera_rect", f"camera_{number}", (a, b, c))


def read_calibration(path: Path | str) -> Calibration:
    """Read the calibration file of a frame (object), a sequence (tracking, odometry): all spellings of its keys.

    Args:
        path: Text file with `P0` to `P3`, the rectification (`R_rect`, `R0_rect`; odometry has none), the LiDAR
            (`Tr_velo_cam`, `Tr_velo_to_cam`, `Tr`) and the IMU (`Tr_imu_velo`, `Tr_imu_to_velo`; may be missing).
            Keys with and without a colon.

    Raises:
        DataError: If the file or a key is missing, stands there twice, or has another count of numbers; names it.
    """
    keys = read_keys(Path(path))
    cameras = {number: keys.take((f"P{number}",), (3, 4)) for number in range(4) if f"P{number}" in keys.cells}
    if not cameras:
        keys.take(("P2",), (3, 4))
    # The odometry benchmark's `Tr` maps to the rectified camera already.
    direct = "Tr" in keys.cells and not keys.cells.keys() & {"R_rect", "R0_rect"}
    rectify = np.eye(3) if direct else _rigid(keys, SPELLINGS["R_rect"], 3)
    lidar = _square(_rigid(keys, SPELLINGS["Tr_velo_cam"], 4))
    has_imu = any(name in keys.cells for name in SPELLINGS["Tr_imu_velo"])
    imu = _square(_rigid(keys, SPELLINGS["Tr_imu_velo"], 4)) if has_imu else None
    return Calibration(cameras, rectify, lidar, imu)


def read_raw_calibration(folder: Path | str) -> Calibration:
    """Read the three files of a raw recording's day: calib_cam_to_cam, calib_velo_to_cam, calib_imu_to_velo (.txt).

    Args:
        folder: Folder of the day, `2011_09_26`.

    Raises:
        DataError: If a file or key is missing or wrong; calib_imu_to_velo.txt alone may be missing.
    """
    folder = Path(folder)
    cameras = read_keys(folder / "calib_cam_to_cam.txt")
    found = [number for number in range(4) if f"P_rect_0{number}" in cameras.cells]
    projections = {number: cameras.take((f"P_rect_0{number}",), (3, 4)) for number in found or [2]}
    rectify = _rigid(cameras, ("R_rect_00",), 3)
    imu = folder / "calib_imu_to_velo.txt"
    return Calibration(
        projections, rectify, _turn_and_shift(folder / "calib_velo_to_cam.txt"),
        _turn_and_shift(imu) if imu.is_file() else None,
    )  # fmt: skip


@dataclass(frozen=True)
class Keys:
    """Cells of a calibration file by key, and the line of each."""

    path: Path
    cells: Mapping[str, tuple[int, str]]

    def take(self, spellings: tuple[str, ...], shape: tuple[int, int]) -> Matrix:
        """Return the matrix of a key in any of its spellings.

        Raises:
            DataError: If it is missing, stands there in two spellings, or has another count of numbers.
        """
        found = [name for name in spellings if name in self.cells]
        if not found:
            raise DataError(
                f"{self.path}: there is no {' or '.join(spellings)}, the file has "
                f"{', '.join(self.cells) or 'no keys'}. Is this the right calibration file?"
            )
        if len(found) > 1:
            raise DataError(f"{self.path}: has {' and '.join(found)}, which are the same: keep one.")
        line, text = self.cells[found[0]]
        where, cells = f"{self.path}, line {line}, {found[0]}", text.split()
        if len(cells) != shape[0] * shape[1]:
            raise DataError(f"{where}: has {len(cells)} numbers, needed {shape[0]} x {shape[1]}, row by row.")
        try:
            values = np.array(cells, dtype=np.float64).reshape(shape)
        except ValueError as error:
            raise DataError(f"{where}: {error}. Needed numbers.") from error
        if not np.isfinite(values).all():
            raise DataError(f"{where}: {text!r} are not all finite.")
        return values


def read_keys(path: Path) -> Keys:
    """Read the lines `key: numbers` or `key numbers` of a calibration file.

    Raises:
        DataError: If the file cannot be read, a line is another, or a key stands there twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}). Give a calibration file.") from error
    cells = dict[str, tuple[int, str]]()
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if line.strip() and not match:
            raise DataError(f"{path}, line {number}: {line.strip()[:60]!r} is not a key and its numbers.")
        if match and match[1] in cells:
            raise DataError(
                f"{path}, line {number}: {match[1]} stands there twice, first in line {cells[match[1]][0]}."
            )
        if match:
            cells[match[1]] = (number, match[2])
    return Keys(path, cells)


def _turn_and_shift(path: Path) -> Matrix:
    keys = read_keys(path)
    return _square(np.hstack([_rigid(keys, ("R",), 3), keys.take(("T",), (3, 1))]))


def _rigid(keys: Keys, spellings: tuple[str, ...], columns: int) -> Matrix:
    matrix = keys.take(spellings, (3, columns))
    turn = matrix[:, :3]
    if not np.allclose(turn @ turn.T, np.eye(3), atol=ROUNDED) or np.linalg.det(turn) < 0:
        name = next(name for name in spellings if name in keys.cells)
        raise DataError(
            f"{keys.path}, line {keys.cells[name][0]}, {name}: its left 3 x 3 block is not a rotation: {turn.tolist()}."
        )
    return matrix


def _square(matrix: Matrix) -> Matrix:
    return np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])


def _inverse(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
