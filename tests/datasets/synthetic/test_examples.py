"""Tasks for feature extractors: drawn again from a seed, and answers that the inputs do hold."""

from __future__ import annotations

import pytest
import torch

from mambats.preprocess.imu import Preintegration
from mambats.preprocess.imu.so3 import logarithm
from mambats_datasets.synthetic import examples
from mambats_datasets.synthetic.examples import COLUMNS, LOOKS, inertial_windows, object_tables

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


def test_a_perfect_sensor_adds_up_to_the_answer() -> None:
    made = inertial_windows(4, seeded(), imu="ideal")
    values, stamps = (part.double() for part in made.inputs)
    ends = torch.cat([stamps[:, 1:], torch.full_like(stamps[:, :1], 2e9)], 1)
    middle = (values + torch.cat([values[:, 1:], values[:, -1:]], 1)) / 2  # a sample is of an instant, not of its hold
    motion = Preintegration()(middle[..., :3], middle[..., 3:], (ends - stamps).clamp_min(0) * 1e-9)
    torch.testing.assert_close(motion.velocity.float(), made.target[:, 3:6], rtol=0, atol=0.05)
    torch.testing.assert_close(motion.position.float(), made.target[:, 6:], rtol=0, atol=0.05)
    torch.testing.assert_close(logarithm(motion.quaternion).float(), made.target[:, :3], rtol=0, atol=0.004)


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
        torch.testing.assert_close(where[:2] + where[7:9], target[2:], rtol=0, atol=2.0)  # velocity is noisy
        assert target[1] <= target[0] <= (rows[:count, :2].norm(dim=-1) < examples.NEAR).sum()
