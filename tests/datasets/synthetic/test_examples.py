"""Tasks for feature extractors: drawn again from a seed, and answers that the inputs do hold."""

from __future__ import annotations

import pytest
import torch

from mambats_datasets.synthetic import examples
from mambats_datasets.synthetic.examples_inertial import inertial_windows
from mambats_datasets.synthetic.examples_objects import COLUMNS, LOOKS, NEAR, gaps, object_tables
from mambats_datasets.synthetic.grade import IDEAL
from mambats_datasets.synthetic.imu import Imu
from mambats_datasets.synthetic.rolling_imu import RollingImu
from mambats_datasets.synthetic.trajectory import random_trajectory

DRAWS = [examples.sweep_pairs, examples.picture_pairs, inertial_windows, object_tables]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("draw", DRAWS)
def test_the_same_seed_draws_the_same(draw) -> None:
    one, again, other = draw(3, seeded()), draw(3, seeded()), draw(3, seeded(1))
    assert one.target.shape == (3, len(one.names))
    assert one.target.dtype == torch.float32
    assert one.target.isfinite().all()
    assert torch.equal(one.target, again.target)
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(one.inputs, again.inputs, strict=True))
    assert not torch.equal(one.target, other.target)
    assert all(len(part) == 3 for part in one.inputs)


def test_a_perfect_gyroscope_adds_up_to_the_turn() -> None:
    """The robot tilts by 2 degrees: the sum of rates about z is near the turn, not equal to it."""
    made = inertial_windows(8, seeded(), imu=IDEAL)
    values, stamps = made.inputs
    turn = torch.trapezoid(values[..., 2].double(), stamps.double() * 1e-9)
    torch.testing.assert_close(turn.float(), made.target[:, 2], rtol=0, atol=0.01)
    assert made.target[:, 0].mean() > 0.5  # two seconds at about 1 m/s, mostly ahead


def test_treads_shake_at_the_pace_of_the_speed() -> None:
    """One drive at a known speed: the strongest frequency on z is speed over tread, the amplitude `shake` times it."""
    way = random_trajectory("robot", 6, 4.0, seeded())
    unit = RollingImu(gyro=IDEAL.gyro, accel=IDEAL.accel, g_sensitivity=0, lean=0, wear=0, floor=0)
    shaken, still = unit.read(way, seeded(1)), Imu().read(way, seeded(1))
    force = shaken.values[..., 5] - still.values[..., 5]
    speed = way(shaken.ticks.time).body_velocity[..., 0]
    part = slice(0, 200)  # a second, over which the speed hardly changes
    spectrum = (force[:, part] * torch.hann_window(200)).to(torch.float64)
    peak = torch.fft.rfft(spectrum, n=4000).abs().argmax(-1) * 200 / 4000
    wanted = speed[:, part].mean(1) / unit.tread
    assert ((peak - wanted).abs() < 2.5).sum() >= 5  # Hz; the spread of the speed within the second
    torch.testing.assert_close(
        force.square().mean(1) / speed.square().mean(1),
        torch.full((6,), 4 * (0.625 + 0.09)).double(),
        rtol=0.15,
        atol=0,
    )
    assert torch.equal(shaken.values[..., :5], still.values[..., :5])


def test_each_drive_has_a_mount_of_its_own_that_turns_and_nothing_else() -> None:
    way = random_trajectory("robot", 200, 0.1, seeded())
    unit = RollingImu(gyro=IDEAL.gyro, accel=IDEAL.accel, g_sensitivity=0, shake=0)
    leant, level = unit.read(way, seeded(1)).values, Imu().read(way, seeded(1)).values
    torch.testing.assert_close(leant[..., 3:].norm(dim=-1), level[..., 3:].norm(dim=-1))
    apart = torch.linalg.cross(leant[:, 0, 3:], level[:, 0, 3:])[:, :2] / 9.80665**2
    torch.testing.assert_close(apart.std(0), torch.full((2,), unit.lean).double(), rtol=0.2, atol=0)


@pytest.mark.parametrize("wrong", [{"lean": -0.1}, {"tread": 0.0}, {"shake": float("nan")}])
def test_a_shaken_unit_refuses_what_is_no_number_of_its_kind(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RollingImu(**wrong)


def test_a_gap_is_to_the_hull() -> None:
    """A car of 4 m by 2 m, 5 m ahead: end on, side on, at a corner, and around the robot."""
    box = torch.tensor(
        [[5.0, 0, 0, 4, 2, 1, 0], [5, 0, 0, 4, 2, 1, torch.pi / 2], [5, 5, 0, 4, 2, 1, 0], [1, 0, 0, 4, 2, 1, 0]]
    )
    torch.testing.assert_close(gaps(box), torch.tensor([3.0, 4.0, 5.0, 0.0]))


def test_two_sweeps_differ_by_the_turn_in_between() -> None:
    """The turn that lays the second sweep best onto the first is the robot's."""
    made, right = examples.sweep_pairs(6, seeded()), list[bool]()
    turns = torch.linspace(-0.2, 0.2, 21)
    for points, rate in zip(made.inputs[0], made.target[:, 1], strict=True):
        there = points.isfinite().all(-1) & (points[:, 2] > -1.0) & (points[:, :2].norm(dim=-1) < 25)
        first, second = (points[there & (points[:, 4] == sweep)][:, :2] for sweep in (0, 1))
        shares = list[float]()
        for turn in turns:
            back = torch.stack([torch.stack([turn.cos(), turn.sin()]), torch.stack([-turn.sin(), turn.cos()])])
            apart = torch.cdist(second @ back + torch.tensor([0.3, 0.0]), first).amin(1)
            shares.append(float((-(apart / 0.15).square()).exp().mean()))
        best = turns[torch.tensor(shares).argmax()]
        right.append(bool((best - rate * examples.APART).abs() < 0.03))
    assert sum(right) >= 5


def test_the_operator_looks_as_the_operator_does() -> None:
    made = object_tables(20, seeded())
    table, counts = made.inputs
    known = torch.tensor([1.0, -1.0] * (LOOKS // 2))
    for rows, count, target in zip(table, counts, made.target, strict=True):
        looks = (rows[:count, len(COLUMNS) :] - known).norm(dim=-1)
        where = rows[looks.argmin()]
        if where[7:9].isfinite().all():  # velocity is told, with noise
            torch.testing.assert_close(where[:2] + where[7:9], target[2:], rtol=0, atol=2.0)
        assert target[1] <= (rows[:count, :2].norm(dim=-1) < NEAR).sum()
        assert 0 <= target[0] <= NEAR


def test_parts_are_told_where_a_robot_would_know_them() -> None:
    table, counts = object_tables(40, seeded()).inputs
    rows = torch.cat([one[:count] for one, count in zip(table, counts, strict=True)])
    ahead = torch.atan2(rows[:, 1], rows[:, 0]).abs() < torch.pi / 3
    assert torch.equal(rows[:, 11] >= 0, ahead)
    fresh = rows[:, 7:10].isnan().all(-1)
    assert torch.equal(fresh, rows[:, 7:10].isnan().any(-1))
    assert 0.4 < fresh.float().mean() < 0.6
    assert rows[:, [0, 1, 2, 3, 4, 5, 6, 10]].isfinite().all()
