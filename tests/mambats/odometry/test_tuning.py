"""Tuning without truth: the search finds the bottom of a bowl, and a filter told wrong noise is more surprised."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from mambats.odometry.bank import ready
from mambats.odometry.navigation import Navigation
from mambats.odometry.robot import START, inertial_filter
from mambats.odometry.start import drawn_start
from mambats.odometry.tuning import SeriesNoise, Setting, beside, repeated, settings_of, surprises, tune
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows

WHERE = {"imu": [2e-3, 1e-2, 4e-5, 1e-3], "gnss": [0.3, 0.3, 2.0], "wheel": [0.05, 0.01]}


def bowl(settings: Sequence[Setting]) -> list[float]:
    """Squared distance of logarithms from WHERE, and a little of the fourth power."""
    found = list[float]()
    for setting in settings:
        far = [math.log(a / b) for name in WHERE for a, b in zip(setting[name], WHERE[name], strict=True)]
        found.append(sum(x**2 + 0.1 * x**4 for x in far))
    return found


def test_the_search_goes_to_the_bottom_of_a_bowl() -> None:
    start = settings_of(inertial_filter())
    found = tune(start, bowl)
    assert bowl([found])[0] < 1e-2 < 1 < bowl([start])[0]
    assert start["gnss"] == pytest.approx([0.5, 0.5, 1.0])


def test_a_search_that_finds_nothing_better_stays() -> None:
    assert tune(WHERE, lambda settings: [float(setting != WHERE) for setting in settings]) == WHERE


def test_settings_beside_one_another_score_as_each_by_itself() -> None:
    window = robot_windows(SimulatedRobots("robot", duration=2.0), 2, torch.Generator().manual_seed(0))
    rows, start = ready(window, 100_000_000), drawn_start(window, START, torch.Generator().manual_seed(1))
    filter_ = inertial_filter().double()
    hand = settings_of(filter_)
    settings = [hand, hand | {"wheel": [0.2, 0.2]}, hand | {"wheel": [4e-4, 4e-4]}, WHERE]
    many = {name: repeated(one, len(settings)) for name, one in rows.items()}
    every = Navigation(*(part.repeat(len(settings), *[1] * (part.ndim - 1)) for part in start))
    stacked = beside(filter_, settings, 2)
    found = surprises(stacked, many, window.length_ns, stacked.aligned(*every[:3], START), len(settings))
    for setting, value in zip(settings, found.tolist(), strict=True):
        for name, deviations in setting.items():
            filter_.noises[name].log_diagonal.data = torch.tensor(list(deviations)).double().log()
        alone = surprises(filter_, rows, window.length_ns, filter_.aligned(*start[:3], START))
        assert value == pytest.approx(float(alone), rel=1e-6)
    assert found[0] < found[1] and found[0] < found[2]  # wrong noise of the wheels surprises more


def test_bad_noise_is_refused() -> None:
    filter_ = inertial_filter()
    filter_.noises["imu"] = nn.Identity()
    with pytest.raises(ValueError, match="give ConstantNoise"):
        settings_of(filter_)
    with pytest.raises(ValueError, match="above 0"):
        SeriesNoise(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="batch has 3 series: this noise is of 2"):
        SeriesNoise(torch.ones(2, 3))(torch.ones(3))
