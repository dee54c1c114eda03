"""The hybrid: piecewise equals whole, untrained it is the filter, and a few steps of training lower its loss."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mambats.encoders import CausalEncoder
from mambats.estimators.learned import LearnedNoise
from mambats.odometry.bank import at_moments, ready
from mambats.odometry.faults import Fault, RandomFaults
from mambats.odometry.hybrid import StudentLoss, follow, hybrid_filter, lessons, pieces, root_of
from mambats.odometry.navigation import Navigation, truth_at
from mambats.odometry.robot import START, inertial_filter
from mambats.odometry.start import drawn_start
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows

TICK, PIECE = 100_000_000, 1_000_000_000


def drives(fault=None, count=4, duration=2.0, seed=0):
    """Rows, truth at the ticks, starts and length of simulated drives."""
    window = robot_windows(SimulatedRobots("robot", duration=duration), count, torch.Generator().manual_seed(seed))
    if fault is not None:
        window = fault(window, torch.Generator().manual_seed(seed))
    rows = ready(window, TICK)
    start = drawn_start(window, START, torch.Generator().manual_seed(seed))
    return rows, truth_at(window.truth, rows["query"].stamps), start, window.length_ns


def model_of(dtype=torch.float64, seed=0) -> LearnedNoise:
    """An untrained hybrid of a small encoder."""
    torch.manual_seed(seed)
    plain = inertial_filter().to(dtype)
    return hybrid_filter(plain, CausalEncoder(LearnedNoise.channels_for(plain), width=8, layers=1))


def test_pieces_hold_every_row_once() -> None:
    rows, _, _, length = drives(RandomFaults(healthy=0.0), count=6)
    cut = list(pieces(rows, length, 700_000_000))
    assert [piece[:2] for piece in cut] == [(at, min(700_000_000, length - at)) for at in range(0, length, 700_000_000)]
    for name, one in rows.items():
        for series in range(6):
            there = [part[name].mask[series] for _, _, part in cut]
            stamps = [
                begin + part[name].stamps[series][mask] for (begin, _, part), mask in zip(cut, there, strict=True)
            ]
            values = [part[name].values[series][mask] for (_, _, part), mask in zip(cut, there, strict=True)]
            assert torch.equal(torch.cat(stamps), one.stamps[series][one.mask[series]])
            assert torch.equal(torch.cat(values), one.values[series][one.mask[series]])
    with pytest.raises(ValueError, match="at least 1"):
        next(pieces(rows, length, 0))


def test_piece_by_piece_is_the_whole_drive() -> None:
    rows, _, start, length = drives(RandomFaults(healthy=0.2), count=6)
    plain = inertial_filter().double()
    state = plain.aligned(*start[:3], START)
    whole = Navigation(*at_moments(plain.run(rows, length, state)[0], rows["query"].stamps))
    for found, wanted in zip(follow(plain, rows, length, state, PIECE), whole, strict=True):
        # A bias is put into an interval's sums to first order around the one at the piece's start.
        torch.testing.assert_close(found[:, :10], wanted[:, :10], atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-2)


def test_untrained_it_is_the_filter() -> None:
    rows, _, start, length = drives(RandomFaults(healthy=0.2), count=6)
    model, plain = model_of(), inertial_filter().double()
    state = plain.aligned(*start[:3], START)
    for found, wanted in zip(
        follow(model, rows, length, model.started(state)), follow(plain, rows, length, state), strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_lowers_the_loss_where_the_unit_is_off(dtype: torch.dtype) -> None:
    rows, truth, start, length = drives(Fault("off", "imu"))
    model, loss = model_of(dtype), StudentLoss()
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    told = list[float]()
    for _ in range(3):
        first, mean = 0, 0.0
        state = model.started(model.estimator.aligned(*(part.to(dtype) for part in start[:3]), START))
        for estimate, _ in lessons(model, rows, length, state, PIECE):
            part = Navigation(*(one[:, first : first + estimate.position.shape[1]] for one in truth))
            first += estimate.position.shape[1]
            wide = Navigation(*(one.double() for one in estimate))
            error = wide.error(part)
            value = loss(error, wide.covariance)
            optimiser.zero_grad()
            value.backward()
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            assert grads and all(bool(grad.isfinite().all()) for grad in grads)
            optimiser.step()
            mean += value.item()
        told.append(mean)
    assert told[-1] < told[0] - 0.02
    assert all(p.grad is None for p in model.estimator.parameters())  # the filter's own noise is fixed


def test_the_loss_of_a_calibrated_error_is_least_at_its_size_and_no_drive_rules() -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(9, 9, generator=generator, dtype=torch.float64) + 3 * torch.eye(9)
    covariance = 1e-2 * factor @ factor.mT
    error = torch.randn(4000, 9, generator=generator, dtype=torch.float64) @ root_of(covariance).mT
    loss = StudentLoss(position=0.0)
    told = [float(loss(error, scale**2 * covariance.expand(4000, 9, 9))) for scale in (0.8, 1.0, 1.25)]
    assert told[1] < told[0] and told[1] < told[2]
    worst = [error[:1].clone().requires_grad_(), (1e4 * error[:1]).requires_grad_()]
    for one in worst:
        log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
        loss(one, log_scale.exp() ** 2 * covariance[None]).backward()
        assert log_scale.grad is not None and abs(float(log_scale.grad)) < (30 + 9) / 9


def test_losing_to_the_plain_filter_costs_and_winning_gains_nothing() -> None:
    error, covariance = torch.full((1, 9), 0.5, dtype=torch.float64), torch.eye(9, dtype=torch.float64)[None]
    alone, better, worse = StudentLoss()(error, covariance), 0.5 * error, 2 * error
    assert float(StudentLoss()(error, covariance, worse)) == float(alone)
    # 0.75 m^2 of miss against 0.1875 m^2, over (0.5 m)^2 each
    wanted = torch.log(torch.tensor((1 + 3) / (1 + 0.75), dtype=torch.float64))
    torch.testing.assert_close(StudentLoss(regret=2.0)(error, covariance, better) - alone, 2 * wanted)


def test_a_singular_covariance_has_a_root() -> None:
    flat = torch.ones(9, 9, dtype=torch.float64)
    torch.testing.assert_close(root_of(flat) @ root_of(flat).mT, flat, atol=1e-8, rtol=0)


@pytest.mark.slow
def test_the_recipe_writes_both_rows(tmp_path: Path) -> None:
    recipe = [sys.executable, str(Path(__file__).parents[3] / "recipes" / "odometry_hybrid.py")]
    small = ["--duration", "2", "--test", "1"]
    taught = ["--val", "1", "--batch", "2", "--passes", "1", "--piece", "1", "--lesson", "2", "--seed", "5"]
    subprocess.run([*recipe, "train", str(tmp_path), *small, *taught], check=True)
    subprocess.run([*recipe, "tune", str(tmp_path), *small, "--drives", "1", "--rounds", "1"], check=True)
    trained = json.loads((tmp_path / "hybrid_5.json").read_text())["test"]
    tuned, plain = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("likelihood", "plain"))
    assert list(trained) == list(tuned) == list(plain) and len(tuned) == 16
    assert all(0 < row["position"] < 10 for rows in (trained, tuned, plain) for row in rows.values())
    told = json.loads((tmp_path / "likelihood_settings.json").read_text())
    assert told["nats"] <= told["nats_by_hand"]
