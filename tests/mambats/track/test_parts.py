import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.estimators import ConstantNoise, ExtendedKalmanFilter, LinearSensor
from mambats.estimators.filter import FilterState
from mambats.gaussian import Gaussian
from mambats.track import (
    BoxNoise,
    CentreDistance,
    ConstantAcceleration,
    ConstantTurn,
    ConstantVelocity,
    Detector,
    Greedy,
    Hungarian,
    Mahalanobis,
    Nearest,
    Objects,
    Overlap,
    Predictor,
    ScoreCalibration,
    SinglePass,
)
from mambats.track.gate import near
from mambats.track.heading import turned_to
from mambats.track.matching import groups, least_sum, least_sums
from tests.mambats.track.worlds import objects, straight, tracker

MOTIONS = [
    ConstantVelocity([1.0, 2.0, 0.5], [0.1, 0.2, 0.3, 0.4]),
    ConstantAcceleration([1.0, 2.0, 0.5], [0.1, 0.2, 0.3, 0.4]),
    ConstantTurn([1.0, 2.0, 0.5], 0.3, [0.1, 0.2, 0.3]),
]


@pytest.mark.parametrize("motion", MOTIONS, ids=lambda m: type(m).__name__)
def test_the_short_way_is_the_filters_own(motion) -> None:
    predictor = Predictor(motion)
    size, random = motion.size, torch.Generator().manual_seed(0)
    mean = torch.randn(4, size, generator=random).double()
    root = torch.randn(4, size, size, generator=random).double()
    covariance = root @ root.mT + torch.eye(size)
    sensor = LinearSensor(torch.eye(7, size).tolist(), ConstantNoise([1.0] * 7))
    model = ExtendedKalmanFilter(motion, {"box": sensor}, ConstantNoise([1.0] * size)).double()
    for elapsed in (0.1, 0.37, 0.1):
        fast = predictor.move(Gaussian(mean, covariance), elapsed)
        slow = model.predict(FilterState(mean, covariance), torch.full((4,), elapsed, dtype=torch.float64))
        torch.testing.assert_close(fast.mean, slow.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(fast.covariance, slow.covariance, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("motion", MOTIONS, ids=lambda m: type(m).__name__)
def test_two_steps_are_one_of_both_times(motion) -> None:
    predictor = Predictor(motion)
    mean = torch.randn(3, motion.size, generator=torch.Generator().manual_seed(1)).double()
    mean[:, -1] = 0.3
    once = predictor.moved(mean, 0.7)
    twice = predictor.moved(predictor.moved(mean, 0.3), 0.4)
    torch.testing.assert_close(once, twice, rtol=1e-10, atol=1e-10)


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_turned_boxes_look_the_same(yaw: float, near_: float) -> None:
    turned = turned_to(torch.tensor(yaw, dtype=torch.float64), torch.tensor(near_, dtype=torch.float64))
    assert abs(float(turned) - near_) <= math.pi / 2 + 1e-9
    assert abs(math.sin(float(turned) - yaw)) < 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))
def test_hungarian_pairs_as_many_as_can_be_at_the_least_cost(height: int, width: int, seed: int) -> None:
    from itertools import permutations

    random = np.random.default_rng(seed)
    cost = random.normal(size=(height, width)) * 10
    open_ = random.random((height, width)) < 0.6
    rows, columns = np.nonzero(open_)
    if not len(rows):
        return
    chosen = Hungarian()((rows, columns), cost[rows, columns])
    assert len(set(rows[chosen])) == len(set(columns[chosen])) == len(chosen)
    best = (0, 0.0)
    wide = np.where(open_, cost, np.nan) if height <= width else np.where(open_, cost, np.nan).T
    for order in permutations(range(wide.shape[1]), wide.shape[0]):
        taken = wide[np.arange(wide.shape[0]), order]
        best = max(best, (int(np.isfinite(taken).sum()), -float(np.nansum(taken))))
    assert len(chosen) == best[0]
    assert math.isclose(float(cost[rows, columns][chosen].sum()), -best[1], abs_tol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_groups_apart_are_solved_as_all_together(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = np.nonzero(random.random((40, 35)) < (0.01, 0.02, 0.3)[seed % 3])
    cost = random.normal(size=len(first)) * 10
    parts = groups(first, second)
    apart = np.concatenate([part[least_sum(first[part], second[part], cost[part])] for part in parts])
    together, tensors = least_sum(first, second, cost), [torch.from_numpy(a) for a in (first, second, cost)]
    batched, all_ = least_sums(*tensors).numpy(), Hungarian()((first, second), cost)
    assert sorted(Hungarian()((tensors[0], tensors[1]), tensors[2]).tolist()) == sorted(all_.tolist())
    for chosen in (apart, batched, all_):
        assert len(chosen) == len(together) == len(set(first[chosen])) == len(set(second[chosen]))
        assert math.isclose(cost[chosen].sum(), cost[together].sum(), abs_tol=1e-9)
    assert seed % 3 == 2 or len(parts) > 3


def test_many_cheapest_pairs_at_once_are_those_one_by_one() -> None:
    random = np.random.default_rng(0)
    rows, columns = np.nonzero(random.random((30, 25)) < 0.3)
    cost = random.integers(0, 40, size=len(rows)).astype(float)  # with ties
    taken, expected = (set[int](), set[int]()), list[int]()
    for k in np.argsort(cost, kind="stable").tolist():
        if rows[k] not in taken[0] and columns[k] not in taken[1]:
            taken[0].add(int(rows[k]))
            taken[1].add(int(columns[k]))
            expected.append(k)
    assert Greedy()((rows, columns), cost).tolist() == expected


@pytest.mark.parametrize("assignment", [Hungarian(), Greedy(), Nearest()])
@pytest.mark.parametrize("affinity", [Mahalanobis(), Overlap(-0.3), CentreDistance(2.0)])
def test_each_takes_its_own(assignment, affinity) -> None:
    detections, _ = straight(5, 12)
    one = tracker(associator=SinglePass(affinity, assignment))
    history = one.run(detections)
    assert sorted(history.tracks.identity.unique().tolist()) == [0, 1, 2, 3, 4]
    assert history.frames[-1].tracks.hits.tolist() == [12] * 5


def test_greedy_and_nearest_differ_where_they_should() -> None:
    pairs = np.array([0, 0, 1]), np.array([0, 1, 0])
    cost = np.array([1.0, 2.0, 1.5])
    assert Greedy()(pairs, cost).tolist() == [0]
    assert Nearest()(pairs, cost).tolist() == [0]
    assert sorted(Hungarian()(pairs, cost).tolist()) == [1, 2]


@pytest.mark.parametrize("scenes", [1, 4])
@pytest.mark.parametrize("reach", [3.0, 25.0, math.inf])
def test_the_grid_finds_what_the_table_finds(monkeypatch: pytest.MonkeyPatch, scenes: int, reach: float) -> None:
    from mambats.track import gate

    detections, _ = straight(60, 3)
    one = tracker()
    tracks, boxes = one.run(detections).frames[-1].tracks, one.detector(detections.between(2, 3))[0]
    random = torch.Generator().manual_seed(0)
    boxes = boxes._replace(boxes=boxes.boxes + 30 * torch.randn(boxes.boxes.shape, generator=random).double())
    tracks = tracks._replace(mean=torch.cat([tracks.mean[:-1], 1e7 * torch.ones(1, 10).double()]))
    wanted = set(zip(*(rows.tolist() for rows in near(tracks, boxes, reach)), strict=True))
    scene = torch.arange(60) * scenes // 60
    wanted = {(t, d) for t, d in wanted if scene[t] == scene[d]}
    monkeypatch.setattr(gate, "TABLE", 10)
    found = near(tracks._replace(scene=scene), boxes._replace(scene=scene), reach)
    assert len(found[0]) == len(wanted) > 0
    assert set(zip(*(rows.tolist() for rows in found), strict=True)) == wanted


def test_logits_become_log_odds() -> None:
    random = torch.Generator().manual_seed(0)
    score = torch.randn(20_000, generator=random) * 4 + 2
    true = torch.rand(20_000, generator=random) < torch.sigmoid(0.7 * score - 1.5)
    found = ScoreCalibration.fitted(score, true)
    assert abs(found.slope - 0.7) < 0.03 and abs(found.offset + 1.5) < 0.08
    with pytest.raises(ValueError, match="some of both"):
        ScoreCalibration.fitted(score, torch.ones_like(true))
    with pytest.raises(ValueError, match="slope above 0"):
        ScoreCalibration(-1.0)


def test_scores_of_far_boxes_are_worth_what_their_range_says() -> None:
    random = torch.Generator().manual_seed(0)
    score = torch.randn(20_000, generator=random).double() * 4 + 2
    boxes = torch.nn.functional.pad(80 * torch.rand(20_000, 2, generator=random).double(), (0, 5))
    odds = 0.7 * score - 1.5 + 0.4 * boxes[:, :2].norm(dim=-1) / 10
    true = torch.rand(20_000, generator=random) < torch.sigmoid(odds)
    found = ScoreCalibration.fitted(score, true, boxes=boxes)
    assert abs(found.slope - 0.7) < 0.03 and abs(found.offset + 1.5) < 0.2 and abs(found.range - 0.4) < 0.05
    made = ScoreCalibration(0.7, -1.5, 0.4)
    torch.testing.assert_close(made(score, boxes), odds)
    torch.testing.assert_close(made(score[:1], torch.full((1, 7), torch.nan)), 0.7 * score[:1] - 1.5)
    with pytest.raises(ValueError, match="give the boxes"):
        made(score)
    with pytest.raises(ValueError, match="finite others"):
        ScoreCalibration(1.0, 0.0, math.inf)


def test_a_detector_weighs_scores_by_range_and_leaves_out_what_has_no_box() -> None:
    boxes = torch.tensor([[20.0, 0, 0, 4, 2, 1.5, 0], [math.nan] * 7, [10.0, 0, 0, 4, 2, 1.5, 0]]).double()
    seen = Objects(
        torch.tensor([0]), torch.tensor([0, 3]), boxes, torch.zeros(3, dtype=torch.int64), ("Car",), torch.ones(3)
    )
    made, splits = Detector(BoxNoise([[0.0]] * 7), ScoreCalibration(1.0, 0.0, 2.0))(seen)
    assert splits == [0, 2] and made.row.tolist() == [0, 2]
    torch.testing.assert_close(made.odds, torch.tensor([1 + 2 * 2.0, 1 + 2 * 1.0]).double())


def test_noise_grows_with_range_and_stands_along_the_box() -> None:
    weights = [[math.log(0.5)], [math.log(0.1)], *[[math.log(0.1), 1.0, 0.0]] * 5]
    noise = BoxNoise(weights)
    boxes = torch.tensor([[10.0, 0, 0, 4, 2, 1.5, math.pi / 2], [20.0, 0, 0, 4, 2, 1.5, 0]]).double()
    made = noise(boxes, torch.zeros(2))
    torch.testing.assert_close(made[0, 0, 0].sqrt(), torch.tensor(0.1).double())
    torch.testing.assert_close(made[0, 1, 1].sqrt(), torch.tensor(0.5).double())
    torch.testing.assert_close(made[1, 2, 2].sqrt(), 2 * made[0, 2, 2].sqrt())
    assert bool((torch.linalg.eigvalsh(made) > 0).all())
    with pytest.raises(ValueError, match="seven rows"):
        BoxNoise([[0.0]] * 6)


def test_cost_grows_with_tracks_and_not_squared() -> None:
    sizes = (200, 800)
    counts = []
    for size in sizes:
        boxes = torch.zeros(size, 7).double()
        boxes[:, 0], boxes[:, 3:6] = 8.0 * torch.arange(size), 2.0
        found = objects([boxes] * 2)
        one = tracker()
        tracks = one.run(found).frames[-1].tracks
        counts.append(len(near(tracks, one.detector(found.between(1, 2))[0], 10.0)[0]))
    assert counts[1] < 4.2 * counts[0]
