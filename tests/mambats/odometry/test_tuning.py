"""Tuning without truth: the search finds the bottom of a bowl, and a filter told wrong noise is more surprised."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mambats.odometry.bank import ready
from mambats.odometry.robot import START, inertial_filter
from mambats.odometry.start import drawn_start
from mambats.odometry.tuning import surprise, tune
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows


def test_the_search_goes_to_the_bottom_of_a_bowl() -> None:
    filter_ = inertial_filter()
    noise = filter_.noises["wheel"].log_diagonal
    wanted = noise.detach().clone() + torch.tensor([0.9, -0.6])
    found = tune(filter_, lambda: float((filter_.noises["wheel"].log_diagonal - wanted).square().sum()), rounds=3)
    torch.testing.assert_close(torch.tensor(found["wheel"]).log(), wanted, atol=0.2, rtol=0)
    assert found["gnss"] == pytest.approx([0.5, 0.5, 1.0], rel=1e-5)


def test_a_filter_told_wrong_noise_is_more_surprised() -> None:
    window = robot_windows(SimulatedRobots("robot", duration=4.0), 4, torch.Generator().manual_seed(0))
    rows, start = ready(window, 100_000_000), drawn_start(window, START, torch.Generator().manual_seed(1))
    values = list[float]()
    for factor in (1.0, 10.0, 0.02):
        filter_ = inertial_filter().double()
        filter_.noises["wheel"].log_diagonal.data += torch.tensor(factor).log()
        values.append(surprise(filter_, rows, window.length_ns, filter_.aligned(*start[:3], START)))
    assert values[0] < values[1] and values[0] < values[2]


def test_noise_without_deviations_is_refused() -> None:
    filter_ = inertial_filter()
    filter_.noises["imu"] = nn.Identity()
    with pytest.raises(ValueError, match="give ConstantNoise"):
        tune(filter_, lambda: 0.0)
