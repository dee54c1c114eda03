"""Readers of points: padding, order and company in the batch change nothing; empty sweeps and batches are answered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mambats.encoders.features import FeatureExtractor, PillarEncoder, PointGrid, VoxelEncoder
from mambats.encoders.features.pillars import pooled_parts
from mambats.encoders.features.voxels import find_voxels
from mambats.mixers import MambaSettings
from mambats.preprocess.lidar import VoxelGrid
from mambats.series import SensorRows

FLAT = PointGrid((-8, -6, -2), (8, 6, 2), (1, 1.5, 4))
CUBES = PointGrid((-8, -6, -2), (8, 6, 2), (1, 1.5, 1))
SMALL = MambaSettings(state_size=3)


def build(kind: str) -> PillarEncoder | VoxelEncoder:
    torch.manual_seed(1)
    if kind == "pillars":
        return PillarEncoder(5, 8, FLAT).double()
    orders = ("hilbert", "morton_yx") if kind == "voxels" else ("raster",)
    most = 9 if kind == "voxels_few" else None
    return VoxelEncoder(5, 8, 2, CUBES, orders, SMALL, most, distance=kind == "voxels").double()


KINDS = ["pillars", "voxels", "voxels_few"]


def sweeps(*counts: int, room: int = 40) -> tuple[Tensor, Tensor]:
    points = torch.randn(len(counts), room, 5, dtype=torch.float64) * 4
    return points, torch.tensor(counts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("view", ["forward", "bev"])
def test_padding_and_company_change_nothing(kind: str, view: str) -> None:
    read = getattr(build(kind), view)
    points, counts = sweeps(40, 0, 17, 1)
    points[2, 17:] = torch.nan
    points[3, 1:] = 0.5
    together = read(points, counts)
    assert together.isfinite().all()
    for one, count, made in zip(points, counts.tolist(), together, strict=True):
        torch.testing.assert_close(read(one[None, :count])[0], made, rtol=1e-10, atol=1e-10)
    swap = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(read(points[swap], counts[swap]), together[swap], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("view", ["forward", "bev"])
def test_the_order_of_points_says_nothing_but_each_point_does(kind: str, view: str) -> None:
    read, (points, _) = getattr(build(kind), view), sweeps(25, room=25)
    made = read(points)
    torch.testing.assert_close(read(points[:, torch.randperm(25)]), made, rtol=1e-10, atol=1e-10)
    near = points[..., :3].square().sum(-1).argmin()
    moved = points.clone()
    moved[0, near, 3] += 1
    assert (read(moved) - made).abs().max() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_points_that_are_no_points_are_not_there(kind: str) -> None:
    model, (points, _) = build(kind), sweeps(20, room=20)
    marred = torch.cat([points, points[:, :4]], 1)
    marred[0, 20, 0], marred[0, 21, 4] = torch.nan, torch.inf
    marred[0, 22, 2], marred[0, 23, 0] = 2.0, -8.1  # the upper side is outside
    torch.testing.assert_close(model(marred), model(points), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_no_sweeps_no_points_and_any_leading_axes(kind: str) -> None:
    model, (points, counts) = build(kind), sweeps(30, 9, 0, 4, 5, 6)
    made = model(points, counts)
    shaped = model(points.view(2, 3, 40, 5), counts.view(2, 3))
    torch.testing.assert_close(shaped.view(6, 8), made)
    nx, ny, _ = CUBES.shape
    assert model(points[:0]).shape == (0, 8)
    assert model(points[:, :0]).shape == (6, 8)
    assert model.bev(points[:0], counts[:0]).shape == (0, 8, ny, nx)
    assert model.bev(points[:, :0]).eq(0).all()
    assert model(points[0]).shape == (8,)
    assert model.bev(points[0]).shape == (8, ny, nx)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_differences(kind: str) -> None:
    model, (points, counts) = build(kind), sweeps(6, 3, room=6)
    wanted = [p for p in model.parameters() if p.requires_grad]

    def loss(extra: Tensor) -> Tensor:
        return model(torch.cat([points[..., :3], extra], -1), counts).square().sum()

    extra = points[..., 3:].clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, extra, fast_mode=True)
    loss(extra).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in wanted)
    assert extra.grad is not None
    assert extra.grad[1, 3:].eq(0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_near_and_finite(kind: str) -> None:
    model, (points, counts) = build(kind).float(), sweeps(40, 0, 17)
    whole = model(points.float(), counts)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(points.float(), counts)
    torch.testing.assert_close(half.float(), whole, rtol=0.1, atol=0.1)


def test_pillars_stand_where_their_points_are() -> None:
    points = torch.zeros(1, 1, 5, dtype=torch.float64)
    points[0, 0, :2] = torch.tensor([-7.5, 5.0])
    for kind in KINDS:
        filled = build(kind).bev(points)[0].abs().sum(0).nonzero()
        assert filled.tolist() == [[7, 0]]  # row of y = 4.5 to 6, column of x = -8 to -7


def test_voxels_are_those_of_the_preprocessor() -> None:
    points, _ = sweeps(40, 40, 40)
    cells, inside = CUBES.cells(points[..., :3])
    found = find_voxels(cells, inside, CUBES)
    shaped = points[..., :3] / points.new_tensor([1, 1.5, 1])
    known = VoxelGrid(1.0, origin=(-8.0, -4.0, -2.0))(shaped[inside], torch.arange(3)[:, None].expand(3, 40)[inside])
    mine = torch.cat(
        [torch.arange(3)[:, None].expand(found.mask.shape)[found.mask][:, None], found.cells[found.mask]], 1
    )
    theirs = torch.cat([known.sets[:, None], known.cells], 1)
    assert sorted(mine.tolist()) == sorted(theirs.tolist())
    again = torch.cat([found.cells, torch.zeros_like(found.cells[:, :1])], 1).gather(
        1, found.slots[..., None].expand(-1, -1, 3)
    )
    assert torch.equal(again[inside], cells[inside])
    assert (found.slots[~inside] == found.mask.shape[1]).all()


def test_only_the_nearest_voxels_are_kept() -> None:
    points, _ = sweeps(40, 40)
    cells, inside = CUBES.cells(points[..., :3])
    every, few = find_voxels(cells, inside, CUBES), find_voxels(cells, inside, CUBES, 5)
    far = CUBES.centres(every.cells).norm(dim=-1).masked_fill(~every.mask, torch.inf)
    for row in range(2):
        nearest = every.cells[row][far[row].argsort(stable=True)[:5]]
        assert sorted(nearest.tolist()) == sorted(few.cells[row].tolist())
        kept = few.slots[row] < 5
        assert torch.equal(few.cells[row][few.slots[row][kept]], cells[row][kept])


def test_far_voxels_are_forgotten_as_after_a_pause() -> None:
    model = VoxelEncoder(5, 8, 1, CUBES, ("hilbert",), SMALL).double()
    plain = VoxelEncoder(5, 8, 1, CUBES, ("hilbert",), SMALL, distance=False).double()
    plain.load_state_dict(model.state_dict())
    points, _ = sweeps(12, room=12)
    assert (model(points) - plain(points)).abs().max() > 1e-6
    near = torch.zeros(1, 2, 5, dtype=torch.float64)
    near[0, 1, 0] = -0.5  # two voxels side by side: their distance is 1
    torch.testing.assert_close(model(near), plain(near), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_streams_of_sweeps_become_streams_of_tokens(kind: str) -> None:
    model, (points, counts) = build(kind), sweeps(30, 9, 0, 4, 5, 6)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    stamps, gaps = torch.arange(6).view(2, 3), torch.ones(2, 3)
    rows = SensorRows(points.view(2, 3, 40, 5), mask, gaps, stamps, counts=counts.view(2, 3))
    assert isinstance(model, FeatureExtractor)
    made = model.encode_rows(rows, 10)
    assert made.values.shape == (2, 3, model.width)
    assert made.values[~mask].eq(0).all()
    assert made.values[mask].ne(0).any(-1).all()
    assert made.counts is None
    assert made.stamps is stamps


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number of cells"):
        PointGrid((0, 0, 0), (1, 1, 1), (0.3, 1, 1))
    with pytest.raises(ValueError, match="grid has 4 layers of cells"):
        PillarEncoder(5, 8, CUBES)
    with pytest.raises(ValueError, match="channels is 2"):
        VoxelEncoder(2, 8)
    with pytest.raises(ValueError, match=r"orders names \['peano'\]"):
        VoxelEncoder(4, 8, orders=("peano",))
    model = VoxelEncoder(5, 8)
    with pytest.raises(ValueError, match=r"points have shape \(2, 7, 4\): need \(..., P, 5\)"):
        model(torch.zeros(2, 7, 4))
    with pytest.raises(ValueError, match=r"counts have shape \(3,\)"):
        model(torch.zeros(2, 7, 5), torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="need a float dtype"):
        model(torch.zeros(2, 7, 5, dtype=torch.int64))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_the_same_and_is_not_waited_for(kind: str) -> None:
    model, (points, counts) = build(kind).float(), sweeps(40, 0, 17)
    points = points.float()
    here, top = model(points, counts), model.bev(points, counts)
    model, points, counts = model.cuda(), points.cuda(), counts.cuda()
    torch.testing.assert_close(model(points, counts).cpu(), here, rtol=1e-4, atol=1e-4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = model.bev(points, counts)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(made.cpu(), top, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_on_a_gpu_are_bit_equal(kind: str) -> None:
    model, (points, counts) = build(kind).float().cuda(), sweeps(40, 0, 17)
    points, counts = points.float().cuda(), counts.cuda()
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(2):
            model.zero_grad()
            made = model(points, counts)
            made.square().sum().backward()
            runs.append([made.detach(), *(p.grad for p in model.parameters())])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("size", [(4, 4), (3, 9), (16, 13), (1, 6)])
def test_parts_of_the_top_view_are_means_as_torch_pools_them(size: tuple[int, int]) -> None:
    """Two products stand for torch's pooling, whose backward pass is not deterministic on a GPU."""
    top = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(pooled_parts(top), torch.nn.functional.adaptive_avg_pool2d(top, 4))
