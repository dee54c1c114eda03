"""A navigator fed row by row gives what it gives over whole windows."""

from __future__ import annotations

import pytest
import torch

from mambats.encoders.fusion import EventFusion
from mambats.odometry import FilterBank, Navigation, Navigator
from mambats.odometry.online import NavigatorRun
from mambats.odometry.start import drawn_start
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows


def made_navigator() -> Navigator:
    torch.manual_seed(0)
    model = Navigator(EventFusion(Navigator.channels(), width=8, layers=1, period_ns=100_000_000), FilterBank()).eval()
    torch.nn.init.normal_(model.head.outer.weight, std=0.3)
    return model


def start_of(start: Navigation) -> Navigation:
    return Navigation(*(part[0] for part in start))


@torch.no_grad()
def test_row_by_row_equals_the_window() -> None:
    window = robot_windows(SimulatedRobots("robot", duration=0.8), 1, torch.Generator().manual_seed(1))
    model = made_navigator()
    start = drawn_start(window, model.deviations, torch.Generator().manual_seed(2))
    whole, _ = model(window, model.init_state(start))
    run, answers = NavigatorRun(model, start_of(start)), []
    rows = [
        (int(r.stamps[0, i]), name, r.values[0, i].tolist())
        for name, r in window.streams.items()
        for i in r.mask[0].nonzero()[:, 0].tolist()
    ]
    for stamp, name, values in sorted(rows):
        answers += run.feed(name, stamp, values)
    answers += run.advance(window.length_ns)
    assert [answer.stamp_ns for answer in answers] == list(range(100_000_000, 800_000_001, 100_000_000))
    for part, name in zip(whole, Navigation._fields, strict=True):
        mine = torch.stack([getattr(answer.estimate, name) for answer in answers])
        torch.testing.assert_close(mine, part[0], rtol=1e-2, atol=2e-3)


@torch.no_grad()
def test_time_passes_without_any_row() -> None:
    model = made_navigator()
    # As freshly made: a head drawn at random widens and narrows as it likes.
    torch.nn.init.zeros_(model.head.outer.weight)
    window = robot_windows(SimulatedRobots("robot", duration=0.5), 1, torch.Generator().manual_seed(1))
    run = NavigatorRun(model, start_of(drawn_start(window, model.deviations, torch.Generator().manual_seed(2))))
    answers = run.advance(300_000_000)
    assert len(answers) == 3
    assert all(part.isfinite().all() for part in answers[-1].estimate)
    spread = [float(answer.estimate.covariance[6:, 6:].trace()) for answer in answers]
    assert spread[2] > spread[0] > 0


def test_late_rows_and_strange_ones_are_refused() -> None:
    model = made_navigator()
    window = robot_windows(SimulatedRobots("robot", duration=0.5), 1, torch.Generator().manual_seed(1))
    run = NavigatorRun(model, start_of(drawn_start(window, model.deviations, torch.Generator().manual_seed(2))))
    assert run.feed("imu", 0, [0.0] * 6) == []
    assert len(run.feed("wheel", 150_000_000, [0.5, 0.0])) == 1
    with pytest.raises(ValueError, match="answered already"):
        run.feed("imu", 50_000_000, [0.0] * 6)
    with pytest.raises(ValueError, match="takes rows of"):
        run.feed("imu", 200_000_000, [0.0] * 3)
    with pytest.raises(ValueError, match="takes rows of"):
        run.feed("lidar", 200_000_000, [0.0])
