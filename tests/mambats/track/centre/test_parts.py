"""Codes, heat maps, sweeps: what a centre detector is made of."""

import math

import pytest
import torch
from torch.nn import functional as F

from mambats.encoders.features import PointGrid
from mambats.track.centre.codes import BoxCode, residual
from mambats.track.centre.heat import draw_heat, focal_loss, peaks
from mambats.track.centre.sweeps import SweepBatch, SweepTable

GRID = PointGrid((-16.0, -8.0, -3.0), (16.0, 8.0, 5.0), (0.5, 0.5, 8.0))
CODE = BoxCode(GRID)


def drawn(count, seed=0):
    """Boxes (1, count, 7) in the grid and velocities along their yaws."""
    random = torch.rand(1, count, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x, y, z, size, yaw, speed = random[..., 0] * 31 - 15.5, random[..., 1] * 15 - 7.5, random[..., 2], 0, 0, 0
    size, yaw = 0.3 + 4 * random[..., 3:6], (random[..., 6] - 0.5) * 2 * math.pi
    speed = 0.1 + 10 * random[..., 7:]
    boxes = torch.cat([torch.stack([x, y, z], -1), size, yaw[..., None]], -1)
    return boxes, speed * torch.stack([yaw.cos(), yaw.sin()], -1)


def test_codes_come_back_as_boxes():
    boxes, velocity = drawn(200)
    cell, inside = CODE.cell(boxes)
    assert inside.all() and cell.min() >= 0
    code = CODE.encode(boxes, velocity, cell)
    assert (code[..., :2].abs() <= 0.25 + 1e-9).all()
    again, moving = CODE.decode(code, cell)
    torch.testing.assert_close(again, boxes)
    torch.testing.assert_close(moving, velocity)
    beside, _ = CODE.decode(CODE.encode(boxes, velocity, cell + 1), cell + 1)
    torch.testing.assert_close(beside, boxes)


def test_the_front_is_where_it_moves_to_and_errors_are_between_axes():
    boxes, velocity = drawn(50)
    cell, _ = CODE.cell(boxes)
    back, _ = CODE.decode(CODE.encode(boxes, -velocity, cell), cell)
    turned = torch.remainder(back[..., 6] - boxes[..., 6], 2 * math.pi)
    torch.testing.assert_close(turned, torch.full_like(turned, math.pi))
    assert residual(back, -velocity, boxes, -velocity).abs().max() < 1e-9
    half = boxes.clone()
    half[..., 6] += 0.3 + math.pi
    torch.testing.assert_close(residual(half, velocity, boxes, velocity)[..., 6], torch.full_like(boxes[..., 6], 0.3))


def test_what_lies_outside_has_no_cell():
    _, inside = CODE.cell(
        torch.tensor([[16.1, 0.0, 0, 1, 1, 1, 0], [-16.0, -8.0, 0, 1, 1, 1, 0], [0, 8.0, 0, 1, 1, 1, 0]])
    )
    assert inside.tolist() == [False, True, False]


def test_heat_is_one_at_middles_and_peaks_find_them():
    boxes = torch.tensor([[[0.3, 0.3, 0, 4, 2, 1.5, 0.3], [10.2, -5.1, 0, 0.8, 0.6, 1.7, 0], [99.0, 0, 0, 4, 2, 2, 0],
                           [-12.0, 3.0, 0, 1, 1, 1, 0]]])  # fmt: skip
    labels = torch.tensor([[0, 1, 0, -1]])
    heat = draw_heat(CODE, boxes, labels, 3)
    assert heat.shape == (1, 3, 32, 64)
    assert (heat == 1).sum((2, 3)).tolist() == [[1, 1, 0]]
    assert heat[0, 0].sum() > heat[0, 1].sum(), "larger bodies have larger spots"
    score, label, cell = peaks(torch.logit(heat, eps=1e-6), 3, 3)
    torch.testing.assert_close(score[0, :2], torch.ones(2), atol=1e-4, rtol=0)
    found = {int(one): place.tolist() for one, place in zip(label[0, :2], cell[0, :2], strict=True)}
    assert found == {0: CODE.cell(boxes)[0][0, 0].tolist(), 1: CODE.cell(boxes)[0][0, 1].tolist()}
    torch.testing.assert_close(CODE.middle(cell[0, :1])[0, :2], boxes[0, int(label[0, 0]), :2], atol=0.25, rtol=0)


def test_peaks_keep_one_of_a_window_and_pad_with_zero():
    logits = torch.full((1, 1, 8, 8), -20.0)
    logits[0, 0, 3, 3], logits[0, 0, 3, 4], logits[0, 0, 6, 6] = 3.0, 2.0, 1.0
    score, _, cell = peaks(logits, 4, 3)
    assert cell[0, :2].tolist() == [[3, 3], [6, 6]] and (score[0, 2:] < 1e-6).all()
    assert peaks(logits, 1000, 3)[0].shape == (1, 64)


def test_focal_loss_is_the_paper_s():
    logits, heat = torch.tensor([[[[2.0, -1.0, 0.5]]]]), torch.tensor([[[[1.0, 0.5, 0.0]]]])
    p = torch.sigmoid(logits).flatten().tolist()
    wanted = -(
        (1 - p[0]) ** 2 * math.log(p[0]) + 0.5**4 * p[1] ** 2 * math.log(1 - p[1]) + p[2] ** 2 * math.log(1 - p[2])
    )
    assert abs(float(focal_loss(logits, heat)) - wanted) < 1e-6
    assert focal_loss(torch.full((1, 1, 2, 2), -30.0), torch.zeros(1, 1, 2, 2)) < 1e-9, "no box at all"


def table():
    """Two drives: the sensor goes 1 m and turns left by 90 degrees a sweep past a point at (5, 0), seen by all."""
    pose = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    for number in range(5):
        angle = number * math.pi / 2
        pose[number, :2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        pose[number, 0, 3] = number
    fixed = torch.tensor([5.0, 0.0, 0.5, 1.0], dtype=torch.float64)
    points = torch.full((5, 2, 4), torch.nan)
    points[:, 0, :3] = (torch.linalg.inv(pose) @ fixed)[:, :3].float()
    points[:, 0, 3] = torch.arange(5) / 10
    boxes = F.pad(torch.rand(5, 1, 7), (0, 0, 0, 1))
    labels = torch.tensor([[0, -1]]).repeat(5, 1)
    stamps = torch.tensor([0, 1, 2, 0, 1]) * 10**8
    drive = torch.tensor([0, 0, 0, 1, 1])
    return SweepTable(points, pose, stamps, drive, boxes, torch.zeros(5, 2, 2), labels, labels)


def test_earlier_sweeps_are_laid_where_they_are_seen_from_now():
    batch = table().batch(torch.tensor([2, 1, 4]), (0, 1, 2))
    assert batch.points.shape == (3, 6, 5)
    there = batch.points.isfinite().all(-1)
    assert there.sum(1).tolist() == [3, 2, 2], "nothing from before the drive, nothing of the other"
    for row in range(3):
        same = batch.points[row][there[row]]
        torch.testing.assert_close(same[:, :3], same[:1, :3].expand(len(same), 3), atol=1e-5, rtol=0)
        torch.testing.assert_close(same[:, 4], torch.arange(len(same)) / 10)
    assert batch.points[0, 2, 3] == pytest.approx(0.1), "the intensity of the sweep before"


def test_a_mirror_swaps_left_and_right():
    made = table().batch(torch.tensor([0, 1]))
    made = made._replace(velocity=torch.rand(2, 2, 2))
    twice = made.mirrored(torch.tensor([True, False]))
    assert torch.equal(twice.points[1].nan_to_num(), made.points[1].nan_to_num())
    assert torch.equal(twice.boxes[0, :, 6], -made.boxes[0, :, 6]) and torch.equal(
        twice.velocity[0, :, 1], -made.velocity[0, :, 1]
    )
    torch.testing.assert_close(twice.points[0, :, 1], -made.points[0, :, 1], equal_nan=True)
    again = twice.mirrored(torch.tensor([True, False]))
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(again[:4], made[:4], strict=True))


def test_a_table_is_kept_in_a_file(tmp_path):
    made = table()
    made.save(tmp_path / "table.npz")
    again = SweepTable.load(tmp_path / "table.npz")
    assert torch.equal(again.stamps, made.stamps) and torch.equal(again.boxes, made.boxes)
    torch.testing.assert_close(again.points.float(), made.points, atol=0.01, rtol=0, equal_nan=True)


def test_tables_that_do_not_fit_are_refused():
    made = table()
    with pytest.raises(ValueError, match="labels has shape"):
        SweepTable(**(vars(made) | {"labels": made.labels[:3]}))
    with pytest.raises(ValueError, match="x y z intensity"):
        SweepTable(**(vars(made) | {"points": made.points[..., :3]}))


def test_a_share_of_the_points_is_kept():
    points = torch.zeros(3, 2000, 5)
    batch = SweepBatch(points, torch.zeros(3, 0, 7), torch.zeros(3, 0, 2), torch.zeros(3, 0).long())
    kept = batch.thinned(torch.tensor([1.0, 0.1, 0.0])).points.isfinite().all(-1).sum(1)
    assert kept[0] == 2000 and 140 < kept[1] < 260 and kept[2] == 0
