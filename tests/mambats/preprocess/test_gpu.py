"""What runs on a GPU gives a CPU's numbers: counts and order to the last bit, floats to rounding."""

import numpy as np
import pytest
import torch

from mambats.preprocess.image import CropPad, Normalise, Resize, Undistort
from mambats.preprocess.lidar import CropRange, Deskew, RangeImage, VoxelGrid
from mambats.preprocess.outliers import ChiSquareGate, RansacPlane
from mambats.preprocess.transform import exp_se3, from_poses, interpolate, log_se3, move_points, to_poses, twist_points
from mambats.preprocess.transform.rigid import steady_points

pytestmark = pytest.mark.gpu


def draw(*shape):
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


def both(work, *given, atol=1e-12):
    """Run on CPU and GPU; every tensor of the results is where its inputs are, and the same."""
    here, there = work(*given), work(*(part.cuda() for part in given))
    pairs = [(here, there)] if isinstance(here, torch.Tensor) else list(zip(here, there, strict=True))
    for ours, theirs in pairs:
        assert theirs.is_cuda and ours.dtype == theirs.dtype
        torch.testing.assert_close(
            theirs.cpu(), ours, rtol=0, atol=atol if ours.is_floating_point() else 0, equal_nan=True
        )


def test_rigid_motions():
    twists = torch.cat([draw(50, 6), 1e-4 * draw(50, 6)])
    both(lambda t: log_se3(exp_se3(t)), twists)
    both(lambda t: interpolate(exp_se3(t), exp_se3(-t), 0.3), twists)
    both(lambda t: from_poses(to_poses(exp_se3(t))), twists)
    both(lambda p, t: twist_points(p, t), draw(100, 3), twists)
    both(lambda p, t: move_points(exp_se3(t), p), draw(100, 7, 3), twists)
    both(steady_points, draw(2, 5000, 3), twists[:2], draw(2, 5000))
    both(lambda p, s: Deskew(0.05).steady(p, s, np.array([0, 0, 1.0, 9, 0, 0])), draw(5000, 3), 0.01 * draw(5000).abs())


@pytest.mark.parametrize("reduce", ["mean", "first", "centre"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_voxels(reduce, dtype):
    points = (5 * draw(20000, 4)).to(dtype)
    points[::100, 1] = torch.nan
    both(VoxelGrid(0.5, reduce), points)
    both(lambda p: VoxelGrid(0.5, reduce)(p, torch.arange(20000) // 5000), points)


def test_range_images():
    points = draw(20000, 3) * torch.tensor([10, 10, 2.0])
    # Rounding of atan2 may put a point on a cell's border into the next: compare all but a few.
    here, there = RangeImage(16, 128)(points), RangeImage(16, 128)(points.cuda())
    assert (here.source != there.source.cpu()).float().mean() < 1e-3
    both(RangeImage(16, 128).inverse, here.ranges)
    both(CropRange(1.0, 20.0).mask, points)


def test_gates_and_planes():
    factor = draw(500, 3, 3)
    both(ChiSquareGate(0.9), draw(500, 3), factor @ factor.mT + torch.eye(3), atol=1e-9)
    ground = torch.cat([draw(4000, 3) * torch.tensor([10, 10, 0.02]), 5 * draw(1000, 3)])
    both(RansacPlane(0.1, up=(0, 0, 1)), ground, atol=1e-9)


def test_pictures():
    image = torch.randint(0, 256, (2, 60, 80, 3), dtype=torch.uint8)
    here, there = Resize(33, 50)(image), Resize(33, 50)(image.cuda())
    assert there.is_cuda and (here.int() - there.cpu().int()).abs().max() <= 1
    both(Resize(33, 50, "nearest"), image)
    both(CropPad(-3, 5, 70, 40), image)
    both(Normalise(), image, atol=1e-6)
    both(lambda x: Normalise().inverse(Normalise()(x)), image)
    matrix = np.array([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]])
    lens = Undistort(matrix, (-0.2, 0.05, 0.001, 0.0))
    both(lens, image.double(), atol=1e-9)
    both(lens.pixels, 20 * draw(100, 2).abs(), atol=1e-8)
