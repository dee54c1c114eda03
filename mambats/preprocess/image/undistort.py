"""Straight lines straight: the plumb-bob model undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambats.preprocess.bridge import Batch, beside, like, tensor
from mambats.preprocess.image.camera import Camera, Matrix
from mambats.preprocess.image.pixels import on_planes

# Fixed-point steps of the inverse: EuRoC's camera (k1 -0.28) settles to 1e-12 of a focal length in some 20 at its
# corners.
STEPS, SETTLED = 100, 1e-10


class Undistort:
    """Undo the lens: pictures by bilinear sampling, pixels both ways.

    x' = x r + 2 p1 x y + p2 (rho + 2 x^2), y' = y r + p1 (rho + 2 y^2) + 2 p2 x y, rho = x^2 + y^2 and
    r = (1 + k1 rho + k2 rho^2 + k3 rho^3) / (1 + k4 rho + k5 rho^2 + k6 rho^3).

    Args:
        intrinsics: Camera matrix in pixels, (3, 3).
        distortion: k1 k2 p1 p2 [k3 [k4 k5 k6]].
        wanted: Camera matrix of the undistorted picture, None for the same.
        size: (height, width) of the undistorted picture, None for that of the picture.

    Source: Brown, Close-range camera calibration, 1971, in OpenCV's order of coefficients.
    """

    def __init__(
        self,
        intrinsics: Matrix,
        distortion: tuple[float, ...],
        wanted: Matrix | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        if np.shape(intrinsics) != (3, 3) or len(distortion) not in (4, 5, 8):
            raise ValueError(
                f"intrinsics have shape {np.shape(intrinsics)} and there are {len(distortion)} coefficients: needed "
                "(3, 3), and k1 k2 p1 p2 [k3 [k4 k5 k6]]. A fisheye has another model."
            )
        self.intrinsics = np.asarray(intrinsics, dtype=np.float64)
        self.distortion = tuple(float(value) for value in distortion)
        self.wanted = self.intrinsics if wanted is None else np.asarray(wanted, dtype=np.float64)
        self.size = size
        self._grids = dict[Any, Tensor]()

    def distort(self, pixels: Batch) -> Batch:
        """Return where undistorted pixels (..., 2), x then y, are in the picture."""
        given = tensor(pixels)
        made = self._bend(_to_plane(given.double(), self.wanted))
        return like(_to_pixels(made, self.intrinsics).to(given), pixels)

    def pixels(self, pixels: Batch) -> Batch:
        """Return where pixels (..., 2) of the picture are undistorted; NaN where the model cannot be undone."""
        given = tensor(pixels)
        wanted = _to_plane(given.double(), self.intrinsics)
        made = wanted
        for _ in range(STEPS):
            radial, tangential = self._parts(made)
            made = (wanted - tangential) / radial
        off = (self._bend(made) - wanted).abs().amax(-1, keepdim=True)
        return like(_to_pixels(made.where(off <= SETTLED, torch.nan), self.wanted).to(given), pixels)

    def __call__(self, images: Batch) -> Batch:
        """Undistort pictures (..., H, W, C), uint8 or floats; black where the lens did not see."""
        return on_planes(images, self._work)

    def camera(self, camera: Camera) -> Camera:
        """Return the camera of the undistorted picture."""
        return Camera(self.wanted, (), self.size or camera.size)

    def _work(self, planes: Tensor) -> Tensor:
        floats = planes if planes.is_floating_point() else planes.float()
        height, width = planes.shape[-2:]
        key = (height, width, floats.dtype, floats.device)
        if key not in self._grids:
            self._grids = {key: self._grid(height, width).to(floats)}
        grid = self._grids[key].expand(len(floats), -1, -1, -1)
        return torch.nn.functional.grid_sample(floats, grid, mode="bilinear", align_corners=True)

    def _grid(self, height: int, width: int) -> Tensor:
        """Return for each undistorted pixel its place in the picture, -1 to 1 from the first to the last centre."""
        rows, columns = self.size or (height, width)
        down, right = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
        source = self.distort(torch.stack([right, down], -1))
        return (2 * source / torch.tensor([max(width - 1, 1), max(height - 1, 1)]).double() - 1)[None]

    def _bend(self, plane: Tensor) -> Tensor:
        radial, tangential = self._parts(plane)
        return plane * radial + tangential

    def _parts(self, plane: Tensor) -> tuple[Tensor, Tensor]:
        """Return the radial factor (..., 1) and the tangential shift (..., 2) at points of the image plane."""
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, *(0.0,) * (8 - len(self.distortion)))
        x, y = plane[..., :1], plane[..., 1:]
        rho = x.square() + y.square()
        radial = (1 + rho * (k1 + rho * (k2 + rho * k3))) / (1 + rho * (k4 + rho * (k5 + rho * k6)))
        across = 2 * p1 * x * y + p2 * (rho + 2 * x.square())
        return radial, torch.cat([across, p1 * (rho + 2 * y.square()) + 2 * p2 * x * y], -1)


def _to_plane(pixels: Tensor, intrinsics: Matrix) -> Tensor:
    back = beside(np.linalg.inv(intrinsics), pixels)
    return pixels @ back[:2, :2].T + back[:2, 2]


def _to_pixels(plane: Tensor, intrinsics: Matrix) -> Tensor:
    forth = beside(intrinsics, plane)
    return plane @ forth[:2, :2].T + forth[:2, 2]
