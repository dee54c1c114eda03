"""How wide bodies look in the picture."""

from __future__ import annotations

import pytest
import torch

from mambats.recipe import describe, rebuild
from mambats.track import Objects, Picture, Silhouette
from mambats.track.objects import splits_of
from mambats.track.projection import in_picture, outlined, project

CAMERA = torch.tensor([[700.0, 0.0, 600.0, 0.0], [0.0, 700.0, 180.0, 0.0], [0.0, 0.0, 1.0, 0.0]]).double()
PERSON = torch.tensor([[10.0, 0.0, -0.5, 0.9, 0.7, 1.7, 0.3]]).double()


def found(boxes: torch.Tensor) -> Objects:
    count = len(boxes)
    stamps, label = torch.zeros(1, dtype=torch.int64), torch.zeros(count, dtype=torch.int64)
    pixels = project(boxes, Picture(CAMERA))
    return Objects(stamps, splits_of([count]), boxes, label, ("Pedestrian",), torch.ones(count), pixels=pixels)


def test_silhouette_has_the_cuboids_middle_and_height() -> None:
    cuboid = project(PERSON, Picture(CAMERA))[0]
    seen = project(PERSON, Picture(CAMERA, silhouette=Silhouette(0.4, 0.1)))[0]
    assert torch.allclose(seen[[1, 3]], cuboid[[1, 3]])
    assert torch.allclose(seen[0] + seen[2], cuboid[0] + cuboid[2])
    height = cuboid[3] - cuboid[1]
    assert torch.allclose(seen[2] - seen[0], 0.4 * (cuboid[2] - cuboid[0]) + 0.1 * height)


def test_fit_finds_the_law_among_outliers() -> None:
    draw = torch.Generator().manual_seed(3)
    left, top, size = (torch.rand(400, generator=draw).double() * 500 for _ in range(3))
    height, width = 40 + size, (20 + size) * (0.5 + torch.rand(400, generator=draw).double())
    drawn = torch.stack([left, top, left + width, top + height], -1)
    seen = Silhouette(0.6, 0.2)(drawn) + torch.randn(400, 4, generator=draw).double()
    seen[::10, 2] += 300.0  # a tenth of the labels lies elsewhere
    fitted = Silhouette.fitted(drawn, seen)
    assert abs(fitted.across - 0.6) < 0.03 and abs(fitted.upright - 0.2) < 0.03


def test_detections_are_outlined_and_cut_at_the_rim() -> None:
    boxes = torch.cat([PERSON, PERSON + torch.tensor([[0.0, 8.55, 0, 0, 0, 0, 0]]).double()])
    picture = Picture(CAMERA, silhouette=Silhouette(0.5))
    seen = outlined(found(boxes), picture).pixels
    assert seen is not None
    cuboid = project(boxes, Picture(CAMERA, (9e3, 9e3)))  # its left edge lies outside of the smaller picture
    half = (cuboid[0, 2] - cuboid[0, 0]) / 4
    assert torch.allclose(seen[0, 0], cuboid[0, 0] + half)
    assert seen[1, 0] == 0.0 and torch.allclose(seen[1, 2], in_picture(found(boxes), picture, own=False).pixels[1, 2])


def test_own_pixels_stay_without_a_silhouette_and_outside_of_the_picture() -> None:
    objects = found(PERSON)
    assert outlined(objects, Picture(CAMERA)) is objects
    behind = found(PERSON)
    behind.boxes[:, 0] = -10.0
    seen = outlined(behind, Picture(CAMERA, silhouette=Silhouette(0.5))).pixels
    assert seen is not None and torch.equal(seen, behind.pixels)


def test_body_that_reaches_behind_the_camera_is_its_cuboid() -> None:
    near = PERSON.clone()
    near[:, 0] = 0.3
    assert torch.equal(project(near, Picture(CAMERA, silhouette=Silhouette(0.4))), project(near, Picture(CAMERA)))


def test_shares_must_make_a_width() -> None:
    for across, upright in ((-0.1, 0.5), (0.0, 0.0), (float("nan"), 0.0)):
        with pytest.raises(ValueError, match="needed two shares"):
            Silhouette(across, upright)
    with pytest.raises(ValueError, match="two or more"):
        Silhouette.fitted(torch.zeros(1, 4), torch.zeros(1, 4))
    made = rebuild(describe(Silhouette(0.4, 0.1)))
    assert (made.across, made.upright) == (0.4, 0.1)
