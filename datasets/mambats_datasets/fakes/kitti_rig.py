"""A made-up rig in KITTI's words: calibration in all spellings, and a box seen by its LiDAR and camera 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Spelling = Literal["tracking", "object", "odometry"]

WIDTH, HEIGHT, FOCAL = 160, 60, 90.0
CENTRE = (80.0, 28.0)
SHIFTS = (0.0, -48.0, 5.6, -42.4)  # P[0, 3] of the four cameras: focal length times their place beside camera 0
AXES = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # lidar to camera: right, down, forward


def _turn(angle: float) -> Array:
    """Rotation about the camera's y axis."""
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


RECTIFY = _turn(0.01)
VELO_TO_CAM = np.column_stack([_turn(-0.012) @ AXES, (0.02, -0.08, -0.27)])
IMU_TO_VELO = np.column_stack([np.eye(3), (-0.8, 0.3, -0.8)])
VELO_TO_RECT = RECTIFY @ VELO_TO_CAM


def projection(camera: int) -> Array:
    """The matrix P of a camera, shape (3, 4)."""
    return np.array([[FOCAL, 0.0, CENTRE[0], SHIFTS[camera]], [0.0, FOCAL, CENTRE[1], 0.0], [0.0, 0.0, 1.0, 0.0]])


def calibration(spelling: Spelling = "tracking") -> str:
    """Text of a calibration file as a benchmark spells it."""
    names = {
        "tracking": ("R_rect", "Tr_velo_cam", "Tr_imu_velo", ""),
        "object": ("R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo", ":"),
        "odometry": ("", "Tr", "", ":"),
    }
    rect, velo, imu, colon = names[spelling]
    lines = [f"P{camera}: {numbers(projection(camera))}" for camera in range(4)]
    lines += [f"{rect}{colon} {numbers(RECTIFY)}"] if rect else []
    lines += [f"{velo}{colon} {numbers(VELO_TO_CAM if rect else VELO_TO_RECT)}"]
    lines += [f"{imu}{colon} {numbers(IMU_TO_VELO)}"] if imu else []
    return "\n".join(lines) + "\n"


def raw_calibration() -> dict[str, str]:
    """Texts of a raw day's three files by name."""
    cameras = ["calib_time: 09-Jan-2012 13:57:47", "corner_dist: 9.950000e-02"]
    for camera in range(4):
        cameras.append(f"S_rect_0{camera}: {WIDTH} {HEIGHT}")
        cameras.append(f"R_rect_0{camera}: {numbers(RECTIFY)}")
        cameras.append(f"P_rect_0{camera}: {numbers(projection(camera))}")
    return {
        "calib_cam_to_cam.txt": "\n".join(cameras) + "\n",
        "calib_velo_to_cam.txt": _parts(VELO_TO_CAM),
        "calib_imu_to_velo.txt": _parts(IMU_TO_VELO),
    }


@dataclass(frozen=True)
class Box:
    """A box in the rectified camera, as KITTI describes it: bottom middle, sizes in metres, yaw in radians."""

    x: float
    y: float
    z: float
    h: float = 1.5
    w: float = 1.6
    l: float = 4.0  # noqa: E741  # KITTI's letter
    yaw: float = -1.5

    @property
    def alpha(self) -> float:
        """Angle it is seen under."""
        return float(self.yaw - np.arctan2(self.x, self.z))

    def place(self, inside: Array) -> Array:
        """Map points of the box, each coordinate from -0.5 to 0.5, to the rectified camera, shape (N, 3)."""
        solid = inside * (self.l, self.h, self.w) - (0.0, self.h / 2, 0.0)
        return solid @ _turn(self.yaw).T + (self.x, self.y, self.z)

    def pixels(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of its corners in camera 2."""
        corners = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T
        seen = np.column_stack([self.place(corners), np.ones(8)]) @ projection(2).T
        plane = seen[:, :2] / seen[:, 2:]
        left, top, right, bottom = (float(v) for v in (*plane.min(0), *plane.max(0)))
        return left, top, right, bottom


def sweep(boxes: list[Box], rng: np.random.Generator, ground: int = 300, each: int = 60) -> npt.NDArray[np.float32]:
    """Points x y z reflectance on the ground all around and on the boxes' faces, in the LiDAR, shape (N, 4)."""
    flat = np.column_stack([rng.uniform(-30, 30, (ground, 2)), np.full(ground, -1.7)])
    parts = [flat]
    for box in boxes:
        inside = rng.uniform(-0.5, 0.5, (each, 3))
        face = rng.integers(0, 3, each)
        inside[np.arange(each), face] = np.where(rng.random(each) < 0.5, -0.499, 0.499)
        # x_rect = A x_lidar + b, so x_lidar = A^T (x_rect - b).
        parts.append((box.place(inside) - VELO_TO_RECT[:, 3]) @ VELO_TO_RECT[:, :3])
    points = np.vstack(parts)
    return np.column_stack([points, rng.random(len(points))]).astype(np.float32)


def numbers(matrix: Array) -> str:
    """Write a matrix row by row."""
    return " ".join(f"{v:.12e}" for v in matrix.ravel())


def _parts(matrix: Array) -> str:
    return f"calib_time: 15-Mar-2012 11:37:16\nR: {numbers(matrix[:, :3])}\nT: {numbers(matrix[:, 3])}\n"
