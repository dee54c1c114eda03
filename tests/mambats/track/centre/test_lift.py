"""Pictures in the top view: where they are read, what a mirror and a camera that is off do."""

import math

import pytest
import torch
from torch import nn

from mambats.encoders.features import ImageEncoder, PillarEncoder, PointGrid
from mambats.track.centre import CentreDetector, ImageLift, SweepBatch
from mambats.track.centre.task import varied
from mambats_datasets.synthetic.world import Camera

GRID = PointGrid((-8.0, -8.0, -3.0), (8.0, 8.0, 5.0), (0.5, 0.5, 8.0))
CAMERA = Camera(48, 32, math.pi / 2)


class Pixels(nn.Module):
    """Patches of one pixel that tell its colour."""

    width, size, patch = 3, (32, 48), 1

    def patches(self, images):
        return images.permute(0, 2, 3, 1).float()


def projection(height=1.5):
    """A camera 1.5 m over the ground, in a frame 1.8 m over it, looking along x."""
    turn = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    shift = turn @ torch.tensor([[0.0], [0.0], [1.8 - height]])
    return CAMERA.intrinsics().float() @ torch.cat([turn, shift], 1)


def lift(heights=(-1.8,), width=3):
    made = ImageLift(Pixels(), width, heights)
    with torch.no_grad():
        made.maps.weight.copy_(torch.eye(3).repeat(len(heights), 1))
        made.maps.bias.zero_()
    return made


def test_a_cell_reads_the_pixel_that_its_middle_falls_on():
    image = torch.rand(1, 1, 3, 32, 48)
    top = lift()(image, projection()[None, None], GRID)
    assert top.shape == (1, 3, 32, 32)
    place = torch.tensor([5.25, -2.25, -1.8])  # row 11, column 26
    u, v, depth = projection()[:, :3] @ place + projection()[:, 3]
    column, row = float(u / depth), float(v / depth)
    left, above = math.floor(column), math.floor(row)
    shares = [(1 - abs(column - x)) * (1 - abs(row - y)) for y in (above, above + 1) for x in (left, left + 1)]
    wanted = sum(
        share * image[0, 0, :, y, x]
        for share, (y, x) in zip(shares, [(y, x) for y in (above, above + 1) for x in (left, left + 1)], strict=True)
    )
    torch.testing.assert_close(top[0, :, 11, 26], wanted, atol=1e-4, rtol=0)
    assert (top[0, :, :, :16] == 0).all(), "nothing behind the camera"
    assert (top[0, :, 31, 17] == 0).all(), "nothing beside the picture"


def test_a_mirrored_picture_is_a_mirrored_top_view():
    images, seen = torch.randint(256, (2, 1, 3, 32, 48), dtype=torch.uint8), projection()[None, None].repeat(2, 1, 1, 1)
    batch = SweepBatch(
        torch.zeros(2, 1, 5), torch.zeros(2, 0, 7), torch.zeros(2, 0, 2), torch.zeros(2, 0), images, seen
    )
    turned = batch.mirrored(torch.tensor([True, False]))
    made = lift((-1.8, -0.5))
    before, after = (made(one.images, one.projection, GRID) for one in (batch, turned))
    torch.testing.assert_close(after[0], before[0].flip(1), atol=1e-2, rtol=1e-4)
    assert torch.equal(after[1], before[1])


def detector():
    torch.manual_seed(0)
    grid = PointGrid((-8.0, -8.0, -3.0), (8.0, 8.0, 5.0), (1.0, 1.0, 8.0))
    camera = ImageLift(ImageEncoder(3, 8, 1, (32, 48), 8), 8)
    return CentreDetector(PillarEncoder(6, 8, grid, layers=0), ("car",), inner=8, levels=1, camera=camera)


def seen_batch(count=3):
    images = torch.randint(256, (count, 1, 3, 32, 48), dtype=torch.uint8)
    boxes = torch.tensor([5.0, 0, -1, 4, 2, 1.5, 0]).expand(count, 1, 7).clone()
    parts = (torch.randn(count, 40, 5), boxes, torch.zeros(count, 1, 2), torch.zeros(count, 1, dtype=torch.int64))
    return SweepBatch(*parts, images, projection().expand(count, 1, 3, 4).clone())


def test_a_camera_that_is_off_is_no_camera_and_points_may_be_missing():
    model, batch = detector(), seen_batch()
    off = batch.without(torch.tensor([False, True, False]), torch.tensor([True, False, False]))
    told, none = model(off.points, off.images, off.projection), model(batch.points)
    torch.testing.assert_close(told.heat[0], none.heat[0])
    full = model(batch.points, batch.images, batch.projection)
    assert not torch.allclose(full.heat[0], told.heat[0]) and torch.equal(full.heat[2], told.heat[2])
    assert told.heat[1].isfinite().all() and not torch.allclose(told.heat[1], full.heat[1])


def test_all_parts_learn_and_absences_leave_gradients_finite():
    model = detector()
    batch = seen_batch(4).without(torch.tensor([0, 1, 0, 0]).bool(), torch.tensor([1, 0, 0, 0]).bool())
    torch.stack(list(model.losses(batch).values())).sum().backward()
    for name, part in model.named_parameters():
        if name.startswith("encoder.head"):  # reads the one token of a sweep, which nothing here asks for
            continue
        assert part.grad is not None and part.grad.isfinite().all(), name
    assert model.camera.maps.weight.grad.abs().sum() > 0


def test_sensors_are_left_out_one_at_a_time():
    torch.manual_seed(0)
    batch = seen_batch(400)
    made = varied(batch, 0.5, 0.0, 0.2)
    no_points, no_picture = made.points.isnan().all((1, 2)), made.projection.isnan().all((1, 2, 3))
    assert not (no_points & no_picture).any()
    assert 50 < no_points.sum() < 110 and 50 < no_picture.sum() < 110
    blind = varied(batch._replace(images=None, projection=None), 0.5, 0.0, 0.2)
    assert blind.points.isfinite().all(), "where there is no picture, points stay"


def test_wrong_parts_are_refused():
    with pytest.raises(ValueError, match="tells `patches`"):
        ImageLift(nn.Linear(2, 2), 8)
    with pytest.raises(ValueError, match="one height"):
        ImageLift(Pixels(), 8, ())
    with pytest.raises(ValueError, match="projection"):
        lift()(torch.zeros(1, 1, 3, 32, 48), torch.zeros(1, 3, 4), GRID)
