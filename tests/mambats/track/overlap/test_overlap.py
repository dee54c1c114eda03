"""Overlap of boxes: against a polygon clipped corner by corner, hulls by hand, thrown points, and cases known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats.track.overlap import (
    centre_distance,
    giou_3d,
    hull_area,
    iou_2d,
    iou_3d,
    iou_3d_of_pairs,
    iou_bev,
    iou_bev_of_pairs,
    share_within_2d_of_pairs,
    shared_area,
)


def corners(box):
    x, y, _, length, width, _, yaw = box
    ahead, left = np.array([math.cos(yaw), math.sin(yaw)]), np.array([-math.sin(yaw), math.cos(yaw)])
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return [np.array([x, y]) + i * length / 2 * ahead + j * width / 2 * left for i, j in signs]


def cross(a, b):
    return a[0] * b[1] - a[1] * b[0]


def area(polygon):
    return sum(cross(p, q) for p, q in zip(polygon, [*polygon[1:], polygon[0]], strict=True)) / 2 if polygon else 0.0


def clipped(polygon, clip):
    """Sutherland and Hodgman's clip, an edge at a time: slow, and of no other idea than the code tested."""
    for a, b in zip(clip, [*clip[1:], clip[0]], strict=True):
        kept = []
        for p, q in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True):
            side_p, side_q = cross(b - a, p - a), cross(b - a, q - a)
            if side_p >= 0:
                kept.append(p)
            if side_p * side_q < 0:
                kept.append(p + (q - p) * side_p / (side_p - side_q))
        polygon = kept
    return polygon


def hull(points):
    """Andrew's chain."""

    def chain(ordered):
        kept = []
        for p in ordered:
            while len(kept) > 1 and cross(kept[-1] - kept[-2], p - kept[-1]) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    ordered = sorted(points, key=tuple)
    return chain(ordered) + chain(ordered[::-1])


def drawn(count, seed, near=4.0):
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(count, 7, generator=generator, dtype=torch.float64)
    low = torch.tensor([100, -50, -1, 0.2, 0.2, 0.5, -7], dtype=torch.float64)
    span = torch.tensor([near, near, 1, 5, 2, 2, 14], dtype=torch.float64)
    return low + unit * span


def test_shared_area_is_that_of_a_clipped_polygon():
    a, b = drawn(40, 1), drawn(30, 2)
    found = shared_area(a[:, None], b[None]).numpy()
    wanted = [[area(clipped(corners(p), corners(q))) for q in b.numpy()] for p in a.numpy()]
    np.testing.assert_allclose(found, wanted, atol=1e-11)
    assert (np.array(wanted) > 0.1).mean() > 0.3  # they do meet


def test_hull_is_that_of_andrews_chain():
    a, b = drawn(40, 3), drawn(30, 4)
    wanted = [[area(hull(corners(p) + corners(q))) for q in b.numpy()] for p in a.numpy()]
    np.testing.assert_allclose(hull_area(a[:, None], b[None]).numpy(), wanted, rtol=1e-11)


def test_volumes_agree_with_thrown_points():
    a, b = drawn(4, 5, near=2.0), drawn(4, 6, near=2.0)
    points = np.random.default_rng(0).uniform([97, -53, -3], [105, -45, 3], (20_000, 3))

    def inside(box):
        x, y, z, *size, yaw = box
        apart = points - [x, y, z]
        along = apart[:, 0] * math.cos(yaw) + apart[:, 1] * math.sin(yaw)
        across = apart[:, 1] * math.cos(yaw) - apart[:, 0] * math.sin(yaw)
        return (np.abs(np.stack([along, across, apart[:, 2]], 1)) <= np.array(size) / 2).all(1)

    for box, row in zip(a.numpy(), iou_3d(a, b).numpy(), strict=True):
        for other, found in zip(b.numpy(), row, strict=True):
            either = (inside(box) | inside(other)).sum()
            assert found == pytest.approx((inside(box) & inside(other)).sum() / either, abs=0.05)


def box(x=0.0, y=0.0, z=0.0, length=4.0, width=2.0, height=1.5, yaw=0.0):
    return torch.tensor([[x, y, z, length, width, height, yaw]], dtype=torch.float64)


@pytest.mark.parametrize("yaw", [0.0, 0.3, math.pi / 2, math.pi, -2.0])
def test_identical_boxes_share_all(yaw):
    for place in (0.0, 1e4):
        same = box(x=place, y=-place, yaw=yaw)
        for measure in (iou_3d, iou_bev, giou_3d):
            assert float(measure(same, same)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("other", "bev", "space"),
    [
        (box(x=4.0), 0.0, 0.0),  # touching at an edge
        (box(x=4.0, y=2.0), 0.0, 0.0),  # at a corner
        (box(length=2.0, width=1.0, height=0.75), 1 / 4, 1 / 8),  # one inside of the other
        (box(length=2.0, width=1.0, height=0.75, yaw=math.pi / 2), 1 / 4, 1 / 8),
        (box(yaw=math.pi / 2), 4 / 12, 4 / 12),  # crossed
        (box(yaw=math.pi), 1.0, 1.0),
        (box(x=2.0), 1 / 3, 1 / 3),
        (box(z=0.75), 1.0, 1 / 3),
        (box(z=1.5), 1.0, 0.0),  # one upon the other
        (box(length=0.0), 0.0, 0.0),
        (box(length=0.0, width=0.0, height=0.0), 0.0, 0.0),
        (box(x=100.0), 0.0, 0.0),
    ],
)
def test_known_cases(other, bev, space):
    for a, b in ((box(), other), (other, box())):
        assert float(iou_bev(a, b)) == pytest.approx(bev, abs=1e-12)
        assert float(iou_3d(a, b)) == pytest.approx(space, abs=1e-12)


def test_two_boxes_of_no_size_share_nothing_and_are_no_nan():
    nothing = box(length=0.0, width=0.0, height=0.0)
    for measure in (iou_3d, iou_bev, giou_3d):
        assert float(measure(nothing, nothing)) == 0


def test_giou_falls_with_distance_where_iou_is_silent():
    found = [float(giou_3d(box(), box(x=x))) for x in (0.0, 2.0, 4.0, 8.0, 80.0)]
    assert found == sorted(found, reverse=True)
    assert found[2] == pytest.approx(0)  # touching: the hull is the union
    assert found[3] == pytest.approx(-(12 - 8) / 12)
    assert found[4] > -1


def test_any_axes_give_the_same():
    """KITTI's camera (x right, y down, z forward, yaw about y) or ours (x forward, y left, z up)."""
    a, b = drawn(20, 7), drawn(20, 8)

    def mirrored(boxes):  # forward and right in place of x and y: the plane as the camera's x and z span it
        x, y, z, *size, yaw = boxes.unbind(-1)
        return torch.stack([-y, x, z, *size, yaw + math.pi / 2], -1)

    for measure in (iou_3d, iou_bev, giou_3d):
        torch.testing.assert_close(measure(mirrored(a), mirrored(b)), measure(a, b), atol=1e-12, rtol=0)


@given(st.integers(0, 10_000), st.floats(1e-13, 1e-3))
def test_small_moves_change_little(seed, step):
    """Edges that nearly coincide: where methods that sort corners double or lose them."""
    one = drawn(16, seed)
    moved = one + step * (torch.rand(one.shape, dtype=torch.float64) - 0.5)
    assert float((1 - iou_bev_of_pairs(one, moved)).max()) <= 60 * step + 1e-12
    assert float((hull_area(one, moved) / (one[:, 3] * one[:, 4]) - 1).abs().max()) <= 60 * step + 1e-12


def test_picking_near_pairs_changes_nothing():
    a, b = drawn(100, 9, near=60.0), drawn(80, 10, near=60.0)
    for table, pairs in ((iou_3d, iou_3d_of_pairs), (iou_bev, iou_bev_of_pairs)):
        wanted = pairs(a[:, None], b[None])
        assert 0 < int((wanted > 0).sum()) < 1000
        torch.testing.assert_close(table(a, b), wanted, atol=1e-12, rtol=0)


def test_leading_axes_are_a_batch():
    a, b = drawn(60, 11).view(3, 20, 7), drawn(45, 12).view(3, 15, 7)
    for measure in (iou_3d, iou_bev, giou_3d, centre_distance):
        torch.testing.assert_close(measure(a, b)[1], measure(a[1], b[1]))
        assert measure(a[:, :0], b).shape == (3, 0, 15)


def test_overlap_can_be_trained():
    a, b = drawn(8, 13, near=2.0).requires_grad_(), drawn(8, 14, near=2.0)
    assert torch.autograd.gradcheck(lambda one: iou_3d_of_pairs(one, b), (a,))
    giou_3d(a, b).sum().backward()
    assert a.grad is not None
    assert bool(a.grad.isfinite().all())


def test_pixels():
    a = torch.tensor([[0, 0, 10, 10], [0, 0, 0, 10]], dtype=torch.float64)
    b = torch.tensor([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4]], dtype=torch.float64)
    torch.testing.assert_close(iou_2d(a, b)[0], torch.tensor([1, 1 / 3, 0, 0.04], dtype=torch.float64))
    assert not bool(iou_2d(a, b)[1].any())
    assert float(share_within_2d_of_pairs(b[3], a[0])) == 1


def test_distance_is_on_the_ground():
    assert float(centre_distance(box(), box(x=3.0, y=4.0, z=9.0))) == 5


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"needed \(\.\.\., N, 7\)"):
        iou_3d(box(), box()[:, :4])
    with pytest.raises(ValueError, match=r"needed \(\.\.\., N, 4\)"):
        iou_2d(box(), box())


@pytest.mark.gpu
def test_gpu_agrees():
    a, b = drawn(200, 15, near=20.0), drawn(150, 16, near=20.0)
    for measure in (iou_3d, iou_bev, giou_3d, centre_distance):
        torch.testing.assert_close(measure(a.cuda(), b.cuda()).cpu(), measure(a, b), atol=1e-10, rtol=0)
