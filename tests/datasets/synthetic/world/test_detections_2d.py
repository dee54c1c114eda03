"""The detector in pictures: sides, misses and false rectangles as they are said to be."""

import pytest
import torch

from mambats_datasets.synthetic.world import Camera, Outlines, PictureDetector
from mambats_datasets.synthetic.world.detections import FALSE

CAMERA = Camera(width=200, height=100)


def outlines(sides, share=1.0, times=4000):
    sides = torch.tensor(sides, dtype=torch.float64).expand(1, times, 1, 4)
    area = (sides[..., 2] - sides[..., 0]) * (sides[..., 3] - sides[..., 1])
    return Outlines(sides, torch.ones(1, times, 1, dtype=torch.bool), (share * area).long())


def detect(seen, **numbers):
    return PictureDetector(**numbers).detect(seen, torch.tensor([[4]]), CAMERA, torch.Generator().manual_seed(0))


def test_sides_have_the_noise_that_is_said_and_lie_in_the_picture():
    seen = outlines([50.0, 20.0, 90.0, 60.0])
    found = detect(seen, noise=1.5, hit=1.0, clutter=0.0)
    assert found.present.all()
    assert abs((found.sides - seen.sides).std() - 1.5) < 0.05
    corner = detect(outlines([-0.5, -0.5, 30.0, 30.0]), noise=5.0, clutter=1.0)
    sides = corner.sides[corner.present]
    assert (sides[:, :2] >= -0.5).all()
    assert (sides[:, 2:] <= torch.tensor([199.5, 99.5])).all()
    assert (sides[:, :2] <= sides[:, 2:]).all()


@pytest.mark.parametrize(
    ("sides", "share", "wanted"),
    [
        ([50.0, 20.0, 90.0, 60.0], 1.0, 0.9),
        ([50.0, 20.0, 90.0, 60.0], 0.04, 0.0),  # hidden
        ([50.0, 20.0, 60.0, 21.5], 1.0, 0.0),  # small
        ([50.0, 20.0, 90.0, 60.0], 0.225, 0.45),
    ],
)
def test_small_and_hidden_objects_are_missed(sides, share, wanted):
    found = detect(outlines(sides, share), hit=0.9, clutter=0.0)
    assert abs(found.present.double().mean() - wanted) < 0.03


def test_false_rectangles_are_poisson_and_sorted_in_by_score():
    found = detect(outlines([50.0, 20.0, 90.0, 60.0]), clutter=2.0)
    false = found.present & (found.identity == FALSE)
    assert abs(false.sum(-1).double().mean() - 2.0) < 0.1
    assert (found.score.masked_fill(~found.present, -1.0).diff() <= 0).all()
    assert found.score[found.present & ~false].mean() > found.score[false].mean() + 0.4


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="clutter -1"):
        PictureDetector(clutter=-1.0)
