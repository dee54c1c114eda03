import math

import pytest
import torch

from mambats.decisions import Cells, Occupancy, free_corridor

CELLS = Cells((-5.0, 35.0), (-10.0, 10.0), 0.25)


def free(batch=1):
    return Occupancy(torch.full((batch, *CELLS.shape), -3.0))


def block(grid, x, y, odds=3.0, row=0):
    """Fill a rectangle; ends in metres."""
    (left, right), (low, high) = ((round((one + 5) * 4) for one in x), (round((one + 10) * 4) for one in y))
    grid.log_odds[row, left:right, low:high] = odds
    return grid


def test_an_empty_street_is_free_to_the_reach():
    made = free_corridor(free(), CELLS, 2.0)
    assert made.curvature.item() == 0 and made.length.item() == 30
    assert made.width.item() == pytest.approx(20, abs=0.5)


def test_a_wall_ahead_ends_the_straight_corridor_and_turns_the_choice():
    made = free_corridor(block(free(), (12, 13), (-1, 10)), CELLS, 2.0)
    assert made.lengths[0, 0].item() == pytest.approx(12, abs=0.25) and made.lengths[0, 0] <= 12
    assert made.curvature.item() < 0 and made.length.item() > 14


def test_a_lane_is_as_wide_as_it_is():
    grid = block(block(free(), (-5, 35), (2.0, 2.5)), (-5, 35), (-3.5, -3.0))
    made = free_corridor(grid, CELLS, 2.0, curvatures=(0.0,))
    assert made.length.item() == 30 and made.width.item() == pytest.approx(4, abs=0.35) and made.width <= 4
    assert free_corridor(grid, CELLS, 4.5, curvatures=(0.0,)).length.item() == 0


def test_a_curved_lane_is_followed():
    place = CELLS.centres(torch.zeros(1))
    radius = torch.hypot(place[..., 0], place[..., 1] - 40)  # a circle of radius 40 m, to the left
    grid = Occupancy(torch.where((radius - 40).abs() < 2.0, -3.0, 3.0)[None])
    made = free_corridor(grid, CELLS, 2.0, start=0.0)
    assert made.curvature.item() == pytest.approx(0.025) and made.length.item() > 25
    assert made.lengths[0, 0] < 15


def test_unknown_blocks_and_so_does_what_is_not_sure_enough():
    for odds, clearance, length in ((0.0, 0.55, 8), (-0.405, 0.55, 30), (-0.405, 0.65, 8), (-1.0, 0.65, 30)):
        grid = block(free(), (8, 9), (-10, 10), odds)
        made = free_corridor(grid, CELLS, 2.0, clearance=clearance, curvatures=(0.0,))
        assert made.length.item() == pytest.approx(length, abs=0.3)


def test_cells_before_the_start_do_not_count_and_rows_are_apart():
    grid = block(free(2), (0, 2), (-1, 1), row=1)
    made = free_corridor(grid, CELLS, 2.0)
    assert made.length[0] == 30 and made.length[1] == 0 and made.width[1] == 0
    assert (free_corridor(grid, CELLS, 2.0, start=2.5).length == 30).all()


def test_the_grid_ends_the_corridor():
    small = Cells((0.0, 10.0), (-5.0, 5.0), 0.5)
    made = free_corridor(Occupancy(torch.full((1, 20, 20), -3.0)), small, 2.0)
    assert 9 < made.length.item() <= 12  # a curve may be a little longer than the way straight ahead
    assert made.lengths[0, 0].item() == pytest.approx(10, abs=0.25)


def test_a_turn_goes_round_half_a_circle_at_most():
    made = free_corridor(free(), CELLS, 1.0, curvatures=(0.25,))
    assert made.length.item() == pytest.approx(4 * math.pi)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 0.0}, "width is 0.0"),
        ({"width": 1.0, "clearance": 0.5}, "clearance 0.5"),
        ({"width": 1.0, "start": 40.0}, "start 40.0"),
        ({"width": 1.0, "curvatures": ()}, "at least one finite"),
        ({"width": 1.0, "cells": Cells()}, "grid has shape"),
    ],
)
def test_bad_input_is_refused(changes, words):
    changes = {"cells": CELLS, **changes}
    with pytest.raises(ValueError, match=words):
        free_corridor(free(), **changes)
