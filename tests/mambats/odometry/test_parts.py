"""Loss, scores, anchors and mixtures against numbers made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mambats.gaussian import Gaussian
from mambats.odometry import GaussianLoss
from mambats.odometry.anchor import anchor_of, distances
from mambats.odometry.mixture import Candidates, mix
from mambats.odometry.navigation import Navigation, truth_at
from mambats.odometry.score import scores
from mambats.pictures.trajectory import Track, draw_degradation, draw_errors, draw_trajectory
from mambats.preprocess.imu import so3
from mambats.preprocess.imu.so3 import logarithm
from mambats.series import SensorRows


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_loss_is_the_normal_density_and_linear_far_out() -> None:
    root = torch.randn(40, 9, 9, generator=gen()).tril()
    root.diagonal(dim1=-2, dim2=-1).copy_(torch.rand(40, 9, generator=gen()) + 0.5)
    mean, target = 0.1 * torch.randn(2, 40, 9, generator=gen())
    wanted = Gaussian(mean.double(), (root @ root.mT).double()).nll(target.double()).mean() / 9
    assert float(GaussianLoss(bound=1e6)(mean, root, target)) == pytest.approx(float(wanted), rel=1e-4)
    eye, zero = torch.eye(9)[None], torch.zeros(1, 9)
    far = [float(GaussianLoss()(zero, eye, zero + k * torch.eye(9)[0])) for k in (100.0, 200.0, 300.0)]
    assert far[2] - far[1] == pytest.approx(far[1] - far[0], rel=1e-4)


def test_scores_of_errors_drawn_from_their_covariance_are_those_of_a_consistent_estimate() -> None:
    root = torch.randn(9, 9, generator=gen(), dtype=torch.float64) + 3 * torch.eye(9, dtype=torch.float64)
    error = torch.randn(200, 50, 9, generator=gen(1), dtype=torch.float64) @ root.mT
    found = scores(error, (root @ root.mT).expand(200, 50, 9, 9))
    assert found["nees"] == pytest.approx(1.0, abs=0.02)
    assert found["nees_position"] == pytest.approx(1.0, abs=0.03)
    assert found["coverage_95"] == pytest.approx(0.95, abs=0.01)
    assert found["position"] == pytest.approx(float((root @ root.mT)[6:, 6:].trace().sqrt()), rel=0.02)


def test_a_mixture_has_the_moments_of_samples_from_it() -> None:
    weights = torch.tensor([0.5, 0.3, 0.2])
    root = 0.3 * torch.randn(3, 9, 9, generator=gen()).tril() + torch.eye(9)
    middle = torch.randn(3, 9, generator=gen(1))
    none = Navigation(*(torch.zeros(()) for _ in range(4)))
    found = Candidates(none, middle, root @ root.mT, torch.ones(3, dtype=torch.bool), torch.zeros(()))
    mean, factor = mix(found, weights.expand(3, 3), torch.zeros(9), torch.eye(9))
    which = torch.multinomial(weights, 200_000, replacement=True, generator=gen(2))
    drawn = middle[which] + (root[which] @ torch.randn(200_000, 9, 1, generator=gen(3)))[..., 0]
    torch.testing.assert_close(mean, drawn.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(factor @ factor.mT, drawn.T.cov(), atol=0.05, rtol=0.02)


def test_each_block_has_the_moments_of_its_own_weights() -> None:
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]])
    root = 0.3 * torch.randn(3, 9, 9, generator=gen()).tril() + torch.eye(9)
    middle = torch.randn(3, 9, generator=gen(1))
    none = Navigation(*(torch.zeros(()) for _ in range(4)))
    found = Candidates(none, middle, root @ root.mT, torch.ones(3, dtype=torch.bool), torch.zeros(()))
    mean, factor = mix(found, weights, torch.zeros(9), torch.eye(9))
    for k in range(3):
        block = slice(3 * k, 3 * k + 3)
        alone, whole = mix(found, weights[k].expand(3, 3), torch.zeros(9), torch.eye(9))
        torch.testing.assert_close(mean[block], alone[block])
        torch.testing.assert_close((factor @ factor.mT)[block, block], (whole @ whole.mT)[block, block])
    given = weights.clone().requires_grad_()
    sum(part.sum() for part in mix(found, given, torch.zeros(9), torch.eye(9))).backward()
    assert given.grad is not None and given.grad.isfinite().all()


def test_the_anchor_leaves_a_candidate_that_runs_away_from_the_fixes() -> None:
    ticks = torch.arange(1, 101)[None] * 100_000_000
    position = torch.zeros(1, 100, 2, 3, dtype=torch.float64)
    position[0, :, 0, 0] = torch.linspace(0, 1000, 100)
    none = torch.zeros(1, 100, 2, 4, dtype=torch.float64)
    each = Navigation(none, none[..., :3], position, none)
    there = torch.ones(1, 50, dtype=torch.bool)
    rows = SensorRows(torch.zeros(1, 50, 3), there, there.float(), torch.arange(1, 51)[None] * 200_000_000)
    far = distances(rows, ticks, each, torch.zeros(1, 2, dtype=torch.float64))
    chosen = anchor_of(far)
    assert chosen[0, 0] == 0 and chosen[0, -1] == 1 and (chosen.diff() >= 0).all()
    silent = SensorRows(rows.values, ~there, 0 * rows.gaps, 0 * rows.stamps)
    assert (anchor_of(distances(silent, ticks, each, torch.zeros(1, 2, dtype=torch.float64))) == 0).all()


def test_truth_between_two_rows_is_between_them() -> None:
    pose = torch.tensor([[[0.0, 0, 0, 0, 0, 0, 1], [1.0, 2, 0, 0, 0, math.sin(0.05), math.cos(0.05)]]])
    there = torch.ones(1, 2, dtype=torch.bool)
    rows = SensorRows(pose, there, there.float(), torch.tensor([[0, 1_000_000_000]]))
    found = truth_at({"pose": rows}, torch.tensor([[0, 500_000_000, 1_000_000_000]]))
    torch.testing.assert_close(found.position[0, 1], torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(
        logarithm(found.quaternion)[0, :, 2].float(), torch.tensor([0.0, 0.05, 0.1]), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(found.velocity[0, 1].float(), torch.tensor([1.0, 2.0, 0.0]))


def test_log_undoes_exp() -> None:
    vector = torch.randn(100, 3, generator=gen(), dtype=torch.float64)
    vector = vector / vector.norm(dim=-1, keepdim=True) * torch.linspace(0, 3.14, 100, dtype=torch.float64)[:, None]
    torch.testing.assert_close(logarithm(so3.exponential(vector)), vector, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(logarithm(-so3.exponential(vector)), vector, atol=1e-9, rtol=1e-9)


def test_pictures_are_written(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    path = rng.normal(size=(50, 3)).cumsum(0)
    track = Track(path + 0.1, np.tile(np.eye(3), (50, 1, 1)))
    wild = Track(path * 1e3, np.tile(np.eye(3), (50, 1, 1)))
    files = [
        draw_trajectory(path, {"a": track, "b": wild}, path[::5], tmp_path / "a.png"),
        draw_errors(np.arange(50.0), {"a": np.ones(50)}, {"a": np.full(50, 2.0)}, tmp_path / "b.png"),
        draw_degradation({"nominal": {"a": 1.0, "b": 2.0}, "imu off": {"a": 1.0, "b": 1e4}}, tmp_path / "c.png"),
    ]
    assert all(file.read_bytes()[:4] == b"\x89PNG" for file in files)
