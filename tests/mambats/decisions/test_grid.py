import math

import pytest
import torch

from mambats.decisions import Cells, Occupancy, RaySensor, fuse_grids, grid_from_boxes, grid_from_rays, moved_grid
from mambats.gaussian import Gaussian

CELLS = Cells((0.0, 10.0), (-5.0, 5.0), 0.5)
ORIGIN = torch.tensor([0.25, 0.25, 1.0])


def ray(*end, mask=None):
    return grid_from_rays(torch.tensor([[end]]), ORIGIN, CELLS, mask=mask)


def test_a_ray_clears_its_way_and_marks_its_end():
    made = ray(6.25, 0.25, 1.0)
    assert made.log_odds.shape == (1, 20, 20)
    assert made.occupied()[0].nonzero().tolist() == [[12, 10]]
    assert made.free()[0].nonzero().tolist() == [[i, 10] for i in range(12)]
    assert int(made.unknown().sum()) == 400 - 13
    assert made.probability[0, 12, 10].item() == pytest.approx(0.7)
    assert made.probability[0, 3, 10].item() == pytest.approx(0.4)


def test_a_ray_to_the_ground_clears_only_where_something_tall_would_have_stopped_it():
    made = ray(10.25, 0.25, -0.05)  # from 1 m down: below 0.3 m after two thirds of 10 m
    assert not made.occupied().any()
    assert made.free()[0].nonzero().tolist() == [[i, 10] for i in range(14)]


def test_a_ray_over_something_low_does_not_clear_it():
    high = torch.tensor([0.25, 0.25, 1.8])
    made = grid_from_rays(torch.tensor([[[9.75, 0.25, 0.8]]]), high, CELLS)
    assert made.free()[0].nonzero().tolist() == [[i, 10] for i in range(16, 19)]  # below 1 m in the last fifth
    sure = grid_from_rays(torch.tensor([[[9.75, 0.25, 0.8]]]), high, CELLS, RaySensor(clears=2.0))
    assert sure.free().sum() == 19


def test_rays_above_say_nothing_and_lost_rays_neither():
    assert ray(6.25, 0.25, 30.0).free().sum() == 1  # it leaves the band within the first cell
    assert ray(math.nan, 0.0, 0.0, mask=torch.tensor([[False]])).unknown().all()


def test_a_hit_outweighs_what_passed_the_same_cell():
    points = torch.tensor([[[6.25, 0.25, 1.0], [9.75, 0.25, 1.0]]])
    made = grid_from_rays(points, ORIGIN, CELLS)
    assert made.occupied()[0].nonzero().tolist() == [[12, 10], [19, 10]]


def test_a_beam_as_wide_as_the_gap_to_its_neighbours_leaves_none():
    turn = torch.linspace(-0.35, 0.35, 8)
    points = torch.stack([9.5 * turn.cos() + 0.25, 9.5 * turn.sin() + 0.25, torch.ones(8)], -1)[None]
    thin, wide = (grid_from_rays(points, ORIGIN, CELLS, RaySensor(spread=spread)).free() for spread in (0.0, 0.1))
    place = CELLS.centres(points) - ORIGIN[:2]
    inside = (torch.atan2(place[..., 1], place[..., 0]).abs() < 0.35) & (place.norm(dim=-1) < 9)
    assert wide[0][inside].all() and not thin[0][inside].all()


def test_no_ray_and_no_series_know_nothing():
    assert grid_from_rays(torch.zeros(2, 0, 3), ORIGIN, CELLS).unknown().all()
    assert grid_from_rays(torch.zeros(0, 4, 3), ORIGIN, CELLS).log_odds.shape == (0, 20, 20)


def test_sweeps_add_up_to_a_limit_and_fade():
    one, grid = ray(6.25, 0.25, 1.0), Occupancy(torch.zeros(1, 20, 20))
    seen = []
    for _ in range(12):
        grid = fuse_grids(grid, one)
        seen.append(grid.probability[0, 3, 10].item())
    assert seen[1] == pytest.approx(0.16 / 0.52) and seen[-1] == pytest.approx(1 / (1 + math.exp(3.5)))
    faded = fuse_grids(grid, Occupancy(torch.zeros(1, 20, 20)), memory=0.5)
    assert torch.allclose(faded.log_odds, 0.5 * grid.log_odds)


def test_a_grid_moves_with_the_robot():
    grid = Occupancy(torch.zeros(2, 20, 20))
    grid.log_odds[:, 12, 10] = 1.0  # at 6.25, 0.25
    ahead = moved_grid(grid, CELLS, torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, math.pi / 2]]))
    assert ahead.log_odds[0].nonzero().tolist() == [[8, 10]]
    back = moved_grid(grid, CELLS, torch.tensor([[-2.0, 0.5, 0.0], [0.0, -2.5, math.pi / 2]]))
    assert back.log_odds[0].nonzero().tolist() == [[16, 9]]
    # Facing left, the place 6.25 ahead and 2.75 to the left of the robot lies 2.75 ahead and 6.25 to the right.
    assert not back.log_odds[1].any()
    right = moved_grid(grid, CELLS, torch.tensor([[4.0, -2.5, math.pi / 2]] * 2))
    cell = right.log_odds[1].abs() > 1e-4
    assert cell.nonzero().tolist() == [[5, 5]]  # 2.75 ahead, 2.25 to the right


def box(mean, covariance, size=(2.0, 1.0), yaw=0.0, **changes):
    centre = Gaussian(torch.tensor([[mean]]), torch.tensor([[covariance]]))
    return grid_from_boxes(centre, torch.tensor([[size]]), torch.tensor([[yaw]]), CELLS, **changes)


def test_a_certain_box_fills_its_cells():
    made = box((5.0, 0.0), ((0.0, 0.0), (0.0, 0.0)))
    assert made.occupied()[0].nonzero().tolist() == [[i, j] for i in range(8, 12) for j in (9, 10)]
    assert made.unknown().sum() == 400 - 8
    turned = box((5.0, 0.0), ((0.0, 0.0), (0.0, 0.0)), yaw=math.pi / 2)
    assert turned.occupied()[0].nonzero().tolist() == [[i, j] for i in (9, 10) for j in range(8, 12)]


def test_an_uncertain_box_gives_what_sampling_gives():
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]])
    seen = Occupancy(torch.full((1, 20, 20), -math.inf))
    made = box((5.0, 0.3), covariance.tolist(), yaw=0.6, prior=seen).probability[0]
    drawn = torch.tensor([5.0, 0.3]) + torch.randn(20000, 2) @ torch.linalg.cholesky(covariance).mT
    away = CELLS.centres(drawn).flatten(0, 1)[:, None] - drawn
    turn = torch.tensor([[math.cos(0.6), math.sin(0.6)], [-math.sin(0.6), math.cos(0.6)]])
    share = ((away @ turn.mT).abs() <= torch.tensor([1.0, 0.5])).all(-1).float().mean(1).view(20, 20)
    # Four standard errors of 20,000 draws; below exp(-3.5) the grid keeps its limit.
    assert ((made - share).abs() < 0.015).logical_or((share < 0.03) & (made < 0.031)).all()


def test_boxes_combine_with_each_other_with_existence_and_with_what_rays_saw():
    sure = ((0.0, 0.0), (0.0, 0.0))
    half = box((5.0, 0.0), sure, existence=torch.tensor([[0.5]]), prior=Occupancy(torch.full((1, 20, 20), -1.0)))
    free = 1 / (1 + math.exp(1.0))
    assert half.probability[0, 9, 9].item() == pytest.approx(1 - 0.5 * (1 - free), abs=1e-3)
    assert half.probability[0, 2, 2].item() == pytest.approx(free)
    centre = Gaussian(torch.tensor([[[5.0, 0.0], [5.0, 0.0]]]), torch.zeros(1, 2, 2, 2))
    two = grid_from_boxes(
        centre,
        torch.full((1, 2, 2), 2.0),
        torch.zeros(1, 2),
        CELLS,
        existence=torch.full((1, 2), 0.5),
        prior=Occupancy(torch.full((1, 20, 20), -30.0)),
    )
    assert two.probability[0, 9, 9].item() == pytest.approx(0.75, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Cells((1.0, 0.0)), "rising pairs"),
        (lambda: Cells(size=0.0), "size is 0.0"),
        (lambda: RaySensor(hit=0.3), "hit 0.3"),
        (lambda: RaySensor(clears=3.0), "clears 3.0"),
        (lambda: grid_from_rays(torch.zeros(1, 2), ORIGIN, CELLS), r"need \(B, N, 3\)"),
        (lambda: grid_from_rays(torch.zeros(1, 2, 3), torch.zeros(2), CELLS), "origin has shape"),
        (lambda: grid_from_rays(torch.zeros(1, 2, 3), ORIGIN, CELLS, mask=torch.ones(1, 3).bool()), "mask is"),
        (lambda: ray(math.nan, 0.0, 0.0), "not finite"),
        (lambda: box((5.0, math.nan), ((0.0, 0.0), (0.0, 0.0))), "centre.mean holds"),
        (lambda: box((5.0, 0.0), ((0.0, 0.0), (0.0, 0.0)), existence=torch.tensor([[2.0]])), "existence 0 to 1"),
        (lambda: box((5.0, 0.0), ((0.0, 0.0), (0.0, 0.0)), existence=torch.ones(3, 1)), "existence has shape"),
        (lambda: fuse_grids(Occupancy(torch.zeros(1)), Occupancy(torch.zeros(1)), memory=2.0), "memory is 2.0"),
        (lambda: moved_grid(Occupancy(torch.zeros(1, 20, 20)), CELLS, torch.zeros(2)), "motion has shape"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
