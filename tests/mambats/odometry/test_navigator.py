"""The navigator: fresh it is the filter, chunks equal the whole, missing streams are borne, checkpoints rebuild it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mambats.encoders.fusion import EventFusion
from mambats.odometry import Fault, FilterBank, GaussianLoss, Navigation, Navigator, degradation, hold_contest
from mambats.odometry.drives import Drives
from mambats.odometry.mixture import candidates, mix, to_world
from mambats.odometry.navigation import truth_at
from mambats.odometry.start import drawn_start
from mambats.recipe import describe, rebuild
from mambats.series import SensorRows, SensorWindow
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows

LENGTH = 1.5


def made_navigator(trust: float = 4.0) -> Navigator:
    torch.manual_seed(0)
    encoder = EventFusion(Navigator.channels(), width=16, layers=1, period_ns=100_000_000)
    return Navigator(encoder, FilterBank(), trust=trust).eval()


@pytest.fixture(scope="module")
def window() -> SensorWindow:
    return robot_windows(SimulatedRobots("robot", duration=LENGTH), 2, torch.Generator().manual_seed(1))


def started(model: Navigator, window: SensorWindow) -> Any:
    return model.init_state(drawn_start(window, model.deviations, torch.Generator().manual_seed(2)))


@torch.no_grad()
def test_fresh_it_answers_as_the_first_filter(window: SensorWindow) -> None:
    model = made_navigator(trust=30.0)
    estimate, each = model.estimates(window, started(model, window))
    for mine, theirs in zip(estimate, each, strict=True):
        torch.testing.assert_close(mine.double(), theirs[:, :, 0], rtol=2e-3, atol=2e-5)


@torch.no_grad()
def test_two_windows_equal_the_whole(window: SensorWindow) -> None:
    model = made_navigator()
    torch.nn.init.normal_(model.head.outer.weight, std=0.3)
    whole, _ = model(window, started(model, window))
    state, parts = started(model, window), list[Navigation]()
    for begin, end in ((0, 600_000_000), (600_000_000, 1_500_000_000)):
        part, state = model(_between(window, begin, end), state)
        parts.append(part)
    for one, two in zip(whole, (torch.cat(pair, 1) for pair in zip(*parts, strict=True)), strict=True):
        # `InertialFilter.run` puts biases learned within a window into its sums to first order.
        torch.testing.assert_close(one, two, rtol=1e-2, atol=2e-3)


@torch.no_grad()
@pytest.mark.parametrize("lost", ["imu", "gnss", "wheel"])
def test_a_missing_stream_is_the_same_as_one_that_never_measured(lost: str, window: SensorWindow) -> None:
    model = made_navigator()
    without = replace(window, streams={name: rows for name, rows in window.streams.items() if name != lost})
    rows = window.streams[lost]
    silent = replace(
        window,
        streams=dict(window.streams)
        | {lost: SensorRows(rows.values * 0, rows.mask & False, rows.gaps * 0, rows.stamps * 0)},
    )
    one, _ = model(without, started(model, window))
    two, _ = model(silent, started(model, window))
    for a, b in zip(one, two, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b)
    assert (torch.linalg.eigvalsh(one.covariance.double()) > 0).all()


@torch.no_grad()
def test_numbers_that_are_not_numbers_are_not_there(window: SensorWindow) -> None:
    model = made_navigator()
    wheel = window.streams["wheel"]
    values = wheel.values.clone()
    values[:, 20:40] = torch.nan
    broken = replace(window, streams=dict(window.streams) | {"wheel": replace(wheel, values=values)})
    estimate, _ = model(broken, started(model, window))
    assert all(part.isfinite().all() for part in estimate)


@torch.no_grad()
def test_where_and_which_way_round_it_starts_does_not_matter(window: SensorWindow) -> None:
    """Tokens know neither the map's origin nor its north."""
    model = made_navigator()
    start = drawn_start(window, model.deviations, torch.Generator().manual_seed(2))
    here, _, _ = model.prepare(window, model.init_state(start))
    gnss = window.streams["gnss"]
    far = replace(gnss, values=gnss.values + gnss.values.new_tensor([64.0, -32.0, 8.0]) * gnss.mask[..., None])
    moved = start._replace(position=start.position + torch.tensor([64.0, -32.0, 8.0], dtype=torch.float64))
    there, _, _ = model.prepare(replace(window, streams=dict(window.streams) | {"gnss": far}), model.init_state(moved))
    for name, rows in here.rows.items():
        torch.testing.assert_close(rows.values, there.rows[name].values, rtol=1e-3, atol=1e-3)


def test_a_few_steps_lower_the_loss(window: SensorWindow) -> None:
    model = made_navigator().train()
    prepared, _, _ = model.prepare(window, started(model, window))
    drives = Drives.of(prepared, truth_at(window.truth, prepared.stamps), 3)
    optimiser, losses = torch.optim.Adam([*model.encoder.parameters(), *model.head.parameters()], lr=0.01), []
    for _ in range(8):
        token, _ = model.believe(drives.rows, drives.length_ns)
        loss = GaussianLoss()(*model.answer(token[:, drives.at], drives.found), drives.target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert all(p.grad is None for p in model.bank.parameters())


@torch.no_grad()
def test_calibration_brings_each_block_to_one(window: SensorWindow) -> None:
    model = made_navigator()
    root = torch.eye(9).expand(500, 9, 9)
    error = torch.randn(500, 9, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [2.0] * 3 + [0.5] * 3 + [1.0] * 3
    )
    model.calibrate(error, root)
    scale = model.log_scale.exp()
    torch.testing.assert_close(scale[::3], torch.tensor([2.0, 0.5, 1.0]), rtol=0.1, atol=0.0)


@torch.no_grad()
def test_a_candidate_that_runs_away_or_is_no_number_is_bounded(window: SensorWindow) -> None:
    model = made_navigator()
    _, each, _ = model.prepare(window, started(model, window))
    broken = Navigation(*(part.clone() for part in each))
    broken.position[:, :, 0] += 1e7
    broken.velocity[:, :, 2] = torch.nan
    found = candidates(broken, each.yaw[:, 0, 0], torch.ones_like(each.yaw[..., 0]).long())
    assert found.difference.isfinite().all()
    assert not found.there[:, :, 2].any()
    weights = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(*found.there.shape[:-1], 3, 4)
    mean, root = mix(found, weights, torch.zeros(9), torch.eye(9))
    one = to_world(found, mean, root)
    torch.testing.assert_close(one.velocity, each.velocity[:, :, 1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.position, each.position[:, :, 1], rtol=1e-4, atol=1e-3)
    assert root.isfinite().all()


def test_a_contest_scores_everyone_on_the_same_drives(window: SensorWindow) -> None:
    model = made_navigator()
    start = drawn_start(window, model.deviations, torch.Generator().manual_seed(0))
    contest = hold_contest(model, window, start, "mine", alone=True)
    scores = contest.scores()
    assert list(scores) == [
        "mine", "filter", "filter without gnss", "filter without wheel", "filter without imu", "imu alone",
        "wheel alone", "gnss alone",
    ]  # fmt: skip
    assert scores["mine"]["position"] < 2.0
    assert set(scores["mine"]) == set(scores["filter"])


def test_without_truth_it_estimates_and_cannot_be_scored(window: SensorWindow) -> None:
    model = made_navigator()
    blind = replace(window, truth={})
    estimate, _ = model(blind, started(model, window))
    assert estimate.position.shape == (2, 15, 3)
    with pytest.raises(ValueError, match="no ground truth 'pose'"):
        drawn_start(blind, model.deviations, torch.Generator())


def test_an_encoder_of_other_streams_is_refused() -> None:
    with pytest.raises(ValueError, match="a navigator shows it"):
        Navigator(EventFusion({"imu": 6}, width=8, layers=1, period_ns=1))


def test_a_description_builds_it_again() -> None:
    model = made_navigator()
    again = rebuild(describe(model))
    again.load_state_dict(model.state_dict())
    assert describe(again) == describe(model)


def _between(window: SensorWindow, begin: int, end: int) -> SensorWindow:
    return replace(
        window, length_ns=end - begin, streams={name: _cut(rows, begin, end) for name, rows in window.streams.items()}
    )


def _cut(rows: SensorRows, begin: int, end: int) -> SensorRows:
    mask = rows.mask & ((rows.stamps > begin) | (begin == 0)) & (rows.stamps <= end)
    order = (~mask).int().argsort(dim=1, stable=True)
    mask = mask.gather(1, order)
    values = rows.values.gather(1, order[..., None].expand_as(rows.values))
    return SensorRows(values * mask[..., None], mask, rows.gaps * mask, (rows.stamps.gather(1, order) - begin) * mask)


def test_degradation_has_a_row_for_each_fault_and_the_same_drives_in_all(window: SensorWindow) -> None:
    faults = [Fault("off", "imu"), Fault("delayed", "gnss", 0.1)]
    found = degradation(made_navigator(), window, 0, "mine", faults)
    assert list(found.scores) == ["nominal", "imu off", "gnss delayed 100 ms"]
    alone = degradation(made_navigator(), window, 0, "mine", [])
    assert found.scores["nominal"]["filter"]["position"] == pytest.approx(
        alone.scores["nominal"]["filter"]["position"], rel=1e-3
    )
    assert found.scores["imu off"]["filter"]["position"] > found.scores["nominal"]["filter"]["position"]
    text = found.text()
    assert text.splitlines()[0].startswith("fault")
    assert len(text.splitlines()) == 5
    assert found.positions()["nominal"].keys() == {"mine", "filter"}


@torch.no_grad()
def test_a_mirrored_drive_is_what_mirrored_sensors_give(window: SensorWindow) -> None:
    model = made_navigator()
    start = drawn_start(window, model.deviations, torch.Generator().manual_seed(2))
    here, _, _ = model.prepare(window, model.init_state(start))
    signs = {"imu": [-1, 1, -1, 1, -1, 1], "gnss": [1, -1, 1], "wheel": [1, -1]}
    streams = {
        name: replace(rows, values=rows.values * torch.tensor(signs[name])) for name, rows in window.streams.items()
    }
    quaternion = start.quaternion * torch.tensor([-1, 1, -1, 1])
    flip = torch.tensor([1, -1, 1])
    other = start._replace(quaternion=quaternion, velocity=start.velocity * flip, position=start.position * flip)
    there, _, _ = model.prepare(replace(window, streams=streams), model.init_state(other))
    truth = truth_at(window.truth, here.stamps)
    turned = truth._replace(
        quaternion=truth.quaternion * torch.tensor([-1, 1, -1, 1]), velocity=truth.velocity * flip,
        position=truth.position * flip,
    )  # fmt: skip
    mirrored = Drives.of(here, truth).mirrored(torch.tensor([True, True]))
    seen = Drives.of(there, turned)
    for name in ("difference", "target"):
        torch.testing.assert_close(getattr(mirrored, name), getattr(seen, name), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(mirrored.covariance, seen.covariance, rtol=1e-2, atol=1e-4)
    for name, rows in mirrored.rows.items():
        torch.testing.assert_close(rows.values, seen.rows[name].values, rtol=1e-3, atol=2e-3)
