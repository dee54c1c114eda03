"""A navigator behind a stream: what it says row by row, robots side by side, a state that can be kept and taken up."""

import numpy as np
import pytest
import torch

from mambats.encoders.fusion import EventFusion
from mambats.odometry import FilterBank, Navigation, Navigator
from mambats.odometry.online import NavigatorRun
from mambats.streaming import ClockRule, Policy, StreamRunner
from mambats.streaming.engines.navigator import NavigatorEngine
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows

TICK = 100_000_000
EPOCH = 1_700_000_000 * 10**9  # a robot's clock, on a whole tick
POLICY = Policy(tick_ns=TICK, provisional=False, clock=ClockRule(ahead_ns=10**11))
START = (1.0, 2.0, 0.0, 0.0, 0.0, 0.3, 0.9, 0.5, 0.0, 0.0)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = Navigator(EventFusion(Navigator.channels(), width=8, layers=1, period_ns=TICK), FilterBank()).eval()
    torch.nn.init.normal_(made.head.outer.weight, std=0.3)
    return made


def rows_of(seed, duration):
    window = robot_windows(SimulatedRobots("robot", duration=duration), 1, torch.Generator().manual_seed(seed))
    rows = [
        (int(r.stamps[0, i]), name, r.values[0, i].tolist())
        for name, r in window.streams.items()
        for i in r.mask[0].nonzero()[:, 0].tolist()
    ]
    order = ["imu", "gnss", "wheel"]
    return sorted((row for row in rows if row[0] > 0), key=lambda row: (row[0], order.index(row[1])))


def wanted_of(model, rows):
    start = np.array(START)
    start[3:7] /= np.linalg.norm(start[3:7])
    parts = torch.from_numpy(start)
    run = NavigatorRun(model, Navigation(parts[3:7], parts[7:], parts[:3], torch.zeros(9, 9)))
    answers = [answer for stamp, name, values in rows for answer in run.feed(name, stamp, values)]
    return [answer.estimate for answer in answers + run.advance(rows[-1][0])]


def equal(answers, wanted):
    assert [answer.stamp_ns - EPOCH for answer in answers] == [TICK * (k + 1) for k in range(len(wanted))]
    for answer, estimate in zip(answers, wanted, strict=True):
        for name, array in answer.outputs.items():
            truth = getattr(estimate, name).double().numpy()
            assert np.abs(array - truth).max() < 1e-5 * max(1, np.abs(truth).max()), name


def told(answers, row=0):
    return [answer for answer in answers if answer.outputs and answer.row == row]


def test_pushed_it_says_what_it_says_row_by_row(model):
    rows = rows_of(1, 0.5)
    wanted = wanted_of(model, rows)
    runner = StreamRunner(NavigatorEngine(model, START), POLICY)
    answers = [a for stamp, name, values in rows for a in runner.push(name, EPOCH + stamp, values)]
    answers += runner.advance(EPOCH + rows[-1][0]) + runner.flush()
    equal(told(answers)[: len(wanted)], wanted)
    assert len(wanted) >= 4 and np.abs(wanted[-1].position.numpy() - np.array(START[:3])).max() > 0.1
    assert runner.counters.total("used") == len(rows)


def test_robots_side_by_side_are_as_good_as_alone(model):
    both = [rows_of(1, 0.3), rows_of(2, 0.3)]
    runner = StreamRunner(NavigatorEngine(model, START), POLICY, rows=2)
    merged = sorted((stamp, row, name, values) for row, rows in enumerate(both) for stamp, name, values in rows)
    answers = [a for stamp, row, name, values in merged for a in runner.push(name, EPOCH + stamp, values, row)]
    answers += runner.advance(EPOCH + merged[-1][0]) + runner.flush()
    for row, rows in enumerate(both):
        wanted = wanted_of(model, rows)
        equal(told(answers, row)[: len(wanted)], wanted)


def test_a_state_taken_up_goes_on_as_if_nothing_had_been(model):
    rows = rows_of(3, 0.4)
    whole, first = (StreamRunner(NavigatorEngine(model, START), POLICY) for _ in range(2))
    wanted = told([a for stamp, name, values in rows for a in whole.push(name, EPOCH + stamp, values)])
    half = len(rows) // 2
    answers = [a for stamp, name, values in rows[:half] for a in first.push(name, EPOCH + stamp, values)]
    second = StreamRunner(NavigatorEngine(model, START), POLICY)
    second.load_state(first.state())
    answers += [a for stamp, name, values in rows[half:] for a in second.push(name, EPOCH + stamp, values)]
    for mine, theirs in zip(told(answers), wanted, strict=True):
        assert all(np.array_equal(mine.outputs[name], theirs.outputs[name]) for name in mine.outputs)


def test_wrong_starts_and_floods_are_named(model):
    with pytest.raises(ValueError, match="px py pz"):
        NavigatorEngine(model, [0.0] * 10)
    with pytest.raises(ValueError, match="px py pz"):
        NavigatorEngine(model, [0.0, 1.0])
    runner = StreamRunner(NavigatorEngine(model), Policy())
    with pytest.raises(ValueError, match="more than 100 rows came before they could be read. Ask more often"):
        for stamp in range(102):
            runner.push("gnss", EPOCH + stamp, [0.0, 0.0, 0.0])


def test_another_start_or_other_weights_are_another_model(model):
    assert NavigatorEngine(model).identity == NavigatorEngine(model).identity != NavigatorEngine(model, START).identity
