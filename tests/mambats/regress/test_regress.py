"""A regressor answers row by row what it answers at once; intervals hold what they say; scores are the published."""

import math

import numpy as np
import pytest
import torch

from mambats.data import CaseBatch
from mambats.encoders import BidirectionalEncoder, CausalEncoder
from mambats.recipe import describe, rebuild
from mambats.regress import Cuts, Estimate, GaussianHead, QuantileHead, Regressor, RegressTask, cmapss_score
from mambats.regress.conformal import needed_stretch
from mambats.regress.features import window_features
from mambats.regress.metrics import regression_scores

HEADS = {"quantiles": QuantileHead, "hidden": lambda width: QuantileHead(width, hidden=6), "gaussian": GaussianHead}


def regressor(head="quantiles", **bounds):
    model = Regressor(CausalEncoder(2, 8, 2), HEADS[head](8), members=2, **bounds)
    model.target.mean.fill_(60.0)
    model.target.scale.fill_(40.0)
    return model.double().eval()


@pytest.mark.parametrize("head", HEADS)
def test_steps_estimate_what_the_whole_estimates(head):
    model, rows = regressor(head, floor=0.0, cap=125.0), torch.randn(3, 9, 2, dtype=torch.float64)
    gaps = torch.rand(3, 9, dtype=torch.float64) + 0.5
    gaps[:, 0] = 1
    mask = torch.rand(3, 9) < 0.7
    whole = model.estimate(model(rows, gaps, mask=mask)[0])
    state = model.init_state(3)
    for t in range(9):
        answer, state = model.step(rows[:, t], gaps[:, t], mask_t=mask[:, t], state=state)
        for said, wanted in zip(model.estimate(answer), whole, strict=True):
            torch.testing.assert_close(said[mask[:, t]], wanted[:, t][mask[:, t]], rtol=1e-9, atol=1e-9)


def test_chunks_with_carried_state_are_the_whole():
    model, rows = regressor(), torch.randn(2, 8, 2, dtype=torch.float64)
    first, state = model(rows[:, :3])
    second, _ = model(rows[:, 3:], state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), model(rows)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("head", HEADS)
def test_an_interval_contains_its_point_within_the_bounds(head):
    model = regressor(head, floor=0.0, cap=125.0)
    estimate = model.estimate(100 * model.head(torch.randn(50, 2, 8, dtype=torch.float64)))
    assert bool((estimate.low <= estimate.point).all()) and bool((estimate.point <= estimate.high).all())
    assert float(estimate.low.min()) >= 0 and float(estimate.high.max()) <= 125


def test_members_differ_and_their_estimates_are_averaged():
    model, rows = regressor(), torch.randn(1, 4, 2, dtype=torch.float64)
    answers, _ = model(rows)
    points = model.target.inverse(answers[..., 0].unsqueeze(-1)).squeeze(-1)
    assert not torch.allclose(points[..., 0], points[..., 1])
    torch.testing.assert_close(model.estimate(answers).point, points.mean(-1))


def test_quantiles_never_cross():
    answer = QuantileHead(4)(50 * torch.randn(200, 4))
    assert bool((answer[:, 1:].diff(dim=-1) >= 0).all())


def test_a_gaussian_head_learns_mean_and_deviation():
    head, token = GaussianHead(1), torch.ones(4000, 1)
    target = 2 + 0.5 * torch.randn(4000)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        head.loss(head(token), target).mean().backward()
        optimizer.step()
    mean, deviation = head(token[0]).tolist()
    assert mean == pytest.approx(2, abs=0.05) and deviation == pytest.approx(0.5, abs=0.05)
    point, low, high = (float(each) for each in head.estimate(head(token[0]), 0.9))
    assert high - point == pytest.approx(1.6449 * deviation, rel=1e-3) and point - low == pytest.approx(high - point)


def test_targets_above_the_cap_count_as_the_cap():
    model = regressor(floor=0.0, cap=125.0)
    scaled = model.scaled(torch.tensor([300.0, 125.0, 20.0, -3.0], dtype=torch.float64))
    assert scaled.tolist() == pytest.approx([65 / 40, 65 / 40, -1, -1.5])


def test_the_score_is_the_published_one():
    point, truth = torch.tensor([90.0, 120.0, 50.0]), torch.tensor([100.0, 100.0, 50.0])
    assert float(cmapss_score(point, truth)) == pytest.approx(math.exp(10 / 13) - 1 + math.exp(2) - 1)


def test_both_cap_protocols_are_named():
    estimate = Estimate(*torch.tensor([[125.0, 10], [100, 5], [125, 20]], dtype=torch.float64))
    found = regression_scores(estimate, torch.tensor([145.0, 30]), 125.0, 0.9)
    assert float(found["rmse"]) == pytest.approx(20)
    assert float(found["rmse_cap"]) == pytest.approx(20 / math.sqrt(2))
    assert float(found["coverage_90"]) == 0.5 and float(found["width"]) == 20
    assert float(found["score_100"]) == pytest.approx(50 * 2 * (math.exp(20 / 13) - 1))
    assert set(regression_scores(estimate, torch.tensor([145.0, 30]), None, 0.9)) == {
        "rmse", "score_100", "width", "coverage_90",
    }  # fmt: skip


@pytest.mark.parametrize("scale", [0.2, 1.0, 4.0])
def test_stretched_intervals_cover_what_they_say(scale):
    generator = torch.Generator().manual_seed(0)
    deviation = torch.rand(4000, generator=generator) + 0.1
    truth = deviation * torch.randn(4000, generator=generator)
    zero, reach = torch.zeros(4000), scale * deviation
    given = Estimate(zero, -reach, reach)
    stretch = needed_stretch(Estimate(*(each[:2000] for each in given)), truth[:2000], 0.9)
    assert float(stretch) == pytest.approx(1.645 / scale, rel=0.06)
    inside = (truth[2000:].abs() <= stretch * reach[2000:]).float().mean()
    assert float(inside) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_intervals_that_end_at_the_cap_cover_what_they_say(scale):
    """Half the truth is at the cap: bounds held there would all need a factor of 1."""
    generator = torch.Generator().manual_seed(0)
    model = torch.rand(8000, generator=generator) * 100 + 60
    truth = (model + 10 * torch.randn(8000, generator=generator)).clamp(0, 110)
    given = Estimate(model, model - scale * 16.45, model + scale * 16.45)
    stretch = needed_stretch(Estimate(*(each[:4000] for each in given)), truth[:4000], 0.9, 0.0, 110.0)
    held = needed_stretch(Estimate(*(each[:4000].clamp(0, 110) for each in given)), truth[:4000], 0.9)
    low, high = ((model[4000:] + side * stretch * scale * 16.45).clamp(0, 110) for side in (-1, 1))
    inside = ((truth[4000:] >= low) & (truth[4000:] <= high)).float().mean()
    assert float(inside) == pytest.approx(0.9, abs=0.02)
    assert scale < 1 or abs(float(held) - 1) < abs(float(stretch) - 1)


def test_a_calibration_judges_what_is_not_held_yet():
    """A truth at the cap is covered by any interval that reaches the cap, whatever lies beyond."""
    beyond = Estimate(*torch.tensor([[140.0], [130.0], [150.0]]))
    assert float(needed_stretch(beyond, torch.tensor([125.0]), 0.9, 0.0, 125.0)) == pytest.approx(0.1)
    assert float(needed_stretch(beyond, torch.tensor([120.0]), 0.9, 0.0, 125.0)) == pytest.approx(2)
    below = Estimate(*torch.tensor([[115.0], [100.0], [135.0]]))
    assert float(needed_stretch(below, torch.tensor([140.0]), 0.9, 0.0, 125.0)) == pytest.approx(0.5)
    regress = regressor(floor=0.0, cap=125.0)
    answer = 3 * torch.randn(40, 2, 6, dtype=torch.float64)
    for held, raw in zip(regress.estimate(answer), regress.unheld(answer), strict=True):
        torch.testing.assert_close(held, raw.clamp(0, 125))


def test_conformal_calibration_needs_cases():
    with pytest.raises(ValueError, match="kept aside"):
        needed_stretch(Estimate(*torch.zeros(3, 0)), torch.zeros(0), 0.9)


def test_cuts_are_uniform_over_the_truth_and_stay():
    cuts, life = Cuts(draws=3000), torch.arange(199.0, -1, -1)
    rows = cuts.rows(life, 3)
    asked = life[rows]
    assert asked.min() == 7 and asked.max() == 145 and float(asked.mean()) == pytest.approx(76, abs=2)
    assert torch.equal(rows, cuts.rows(life, 3)) and not torch.equal(rows, cuts.rows(life, 4))
    short = cuts.rows(torch.arange(40.0, -1, -1), 0)
    assert short.min() == 29  # thirty rows to read
    assert len(cuts.rows(torch.arange(20.0, -1, -1), 0)) == 0


def test_window_features_by_hand():
    rng = np.random.default_rng(0)
    values = rng.normal(500, 3, (50, 2))
    found = window_features(values, 30)
    for t in (0, 1, 10, 49):
        window = values[max(0, t - 29) : t + 1]
        slope = np.polyfit(np.arange(len(window)), window, 1)[0] if len(window) > 1 else np.zeros(2)
        wanted = np.concatenate([window[-1], window.mean(0), window.std(0), slope, [t + 1]])
        np.testing.assert_allclose(found[t], wanted, atol=1e-6)


def test_rows_without_truth_or_existence_do_not_train():
    task = RegressTask(regressor().float())
    values, target = torch.randn(1, 6, 2), torch.full((1, 6), 50.0)
    task.log = lambda *_, **__: None
    mask = torch.arange(6)[None] < 4
    loss = task.shared_step(CaseBatch(values, target, mask), "train")
    other = torch.where(torch.arange(6) < 4, target, 1e6)
    torch.testing.assert_close(loss, task.shared_step(CaseBatch(values, other, mask), "train"))
    some = torch.where(torch.arange(6) < 2, target, torch.nan)
    torch.testing.assert_close(
        task.shared_step(CaseBatch(values, some, mask), "train"),
        task.shared_step(CaseBatch(values[:, :2], target[:, :2]), "train"),
    )


def test_what_is_refused():
    with pytest.raises(ValueError, match="reads ahead"):
        Regressor(BidirectionalEncoder(2, 8, 1), QuantileHead(8))
    with pytest.raises(ValueError, match="width 4"):
        Regressor(CausalEncoder(2, 8, 1), QuantileHead(4))
    with pytest.raises(ValueError, match="floor < cap"):
        Regressor(CausalEncoder(2, 8, 1), QuantileHead(8), floor=5.0, cap=5.0)
    with pytest.raises(ValueError, match="low <= high"):
        Cuts(low=10, high=5)
    with pytest.raises(ValueError, match="noise is -1"):
        RegressTask(regressor(), noise=-1)


def test_a_task_is_rebuilt_from_its_description():
    task = RegressTask(regressor("hidden", floor=0.0, cap=125.0), cuts=Cuts(draws=2))
    assert describe(rebuild(describe(task))) == describe(task)
