import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from mambats.estimators.extended import ExtendedKalmanFilter
from tests.mambats.estimators.turning import BEGIN, consistency, drive, linear, steps, straight, turning, window


@pytest.mark.parametrize("iterations", [1, 3])
def test_on_a_linear_model_it_is_the_kalman_filter(iterations):
    filter_ = straight(ExtendedKalmanFilter, iterations=iterations)
    _, values = drive(filter_, 3, 12, 0.7)
    expected, _ = linear(filter_, values, 0.7)
    for state, (mean, covariance) in zip(steps(filter_, values, 0.7), expected, strict=True):
        assert torch.allclose(state.mean, mean, rtol=0, atol=1e-10)
        assert torch.allclose(state.covariance, covariance, rtol=0, atol=1e-10)


def test_it_is_filterpys_on_a_turn():
    kalman = pytest.importorskip("filterpy.kalman")
    filter_ = turning(ExtendedKalmanFilter)
    _, values = drive(filter_, 1, 30, seed=3)
    elapsed, sensor = torch.ones(1, dtype=torch.float64), filter_.sensors["radar"]
    peer = kalman.ExtendedKalmanFilter(dim_x=5, dim_z=2)
    begin = filter_.init_state(1)
    peer.x, peer.P = begin.mean[0].detach().numpy(), begin.covariance[0].detach().numpy()
    peer.Q, peer.R = (noise(elapsed)[0].detach().numpy() for noise in (filter_.motion.noise, sensor.noise))

    def row(x):
        return torch.as_tensor(x)[None]

    for value, state in zip(values[0], steps(filter_, values), strict=True):
        peer.F = filter_.motion.jacobian(row(peer.x), elapsed)[0].detach().numpy()
        peer.predict_x = lambda u: setattr(peer, "x", filter_.motion(row(peer.x), elapsed)[0].detach().numpy())
        peer.predict()
        peer.update(
            value.numpy(),
            lambda x: sensor.jacobian(row(x))[0].detach().numpy(),
            lambda x: sensor(row(x))[0].detach().numpy(),
            residual=lambda a, b: sensor.residual(row(a), row(b))[0].numpy(),
        )
        assert np.allclose(state.mean[0].detach().numpy(), peer.x, rtol=0, atol=1e-8)
        assert np.allclose(state.covariance[0].detach().numpy(), peer.P, rtol=0, atol=1e-8)


def test_it_knows_how_wrong_it_is_over_many_runs():
    filter_ = turning(ExtendedKalmanFilter)
    truth, values = drive(filter_, 400, 40)
    states = steps(filter_, values)
    last = consistency(filter_.estimate(states[-1]), truth[:, -1])
    low, high = (stats.chi2.ppf(q, 400 * 5) / 400 for q in (0.0005, 0.9995))
    assert low < last.mean() < high


def test_iterations_find_the_most_likely_state():
    """A near landmark, known badly: the last point must have no slope left; one pass has."""
    slopes = []
    for iterations in (1, 12):
        filter_ = turning(ExtendedKalmanFilter, iterations=iterations)
        before = filter_.init_state(1)
        before = before._replace(mean=torch.tensor([[25.0, 10.0, -8.0, 3.0, 0.1]], dtype=torch.float64))
        value = torch.tensor([[1.9, 24.0]], dtype=torch.float64)
        state, told = filter_.update(before, "radar", value)
        sensor, x = filter_.sensors["radar"], state.mean.detach().requires_grad_()
        away, seen = x - before.mean, sensor.residual(value, sensor(x))
        cost = away @ torch.linalg.solve(before.covariance, away.mT) + seen @ torch.linalg.solve(
            sensor.noise(torch.zeros(1))[0], seen.mT
        )
        slopes.append(torch.autograd.grad(cost.sum(), x)[0].norm().item())
        assert torch.isfinite(told.nis).all()
    assert slopes[1] < 1e-6 < slopes[0]


def test_iterations_keep_masks_holes_and_the_gate():
    filter_ = turning(ExtendedKalmanFilter, iterations=3, gate=0.999)
    before = filter_.init_state(4)
    sensor = filter_.sensors["radar"]
    value = sensor(before.mean).detach() + torch.tensor([0.01, 1.0])
    value[1] = math.nan
    value[2, 0] = math.nan
    value[3] += 1000.0
    after, told = filter_.update(before, "radar", value, mask=torch.tensor([False, True, True, True]))
    assert told.used.tolist() == [False, False, True, False]
    assert torch.equal(after.mean[[0, 1, 3]], before.mean[[0, 1, 3]])
    assert not torch.equal(after.mean[2], before.mean[2]) and torch.isfinite(after.covariance).all()


def test_smoothing_a_linear_model_is_rauch_tung_and_striebels():
    filter_ = straight(ExtendedKalmanFilter)
    _, values = drive(filter_, 3, 12, 0.7)
    run = filter_.run(*window(values, "place", 0.7))
    smooth = filter_.smooth(run)
    for k, (mean, covariance) in enumerate(linear(filter_, values, 0.7)[1]):
        assert torch.allclose(smooth.mean[:, k], mean, rtol=0, atol=1e-10)
        assert torch.allclose(smooth.covariance[:, k], covariance, rtol=0, atol=1e-10)


def test_smoothing_a_turn_comes_nearer_to_the_truth_and_knows_it():
    filter_ = turning(ExtendedKalmanFilter)
    truth, values = drive(filter_, 100, 40)
    with torch.no_grad():
        run = filter_.run(*window(values, "radar"))
        smooth = filter_.smooth(run)
    before, after = ((one.mean - truth)[..., :2].norm(dim=-1)[:, :30].mean() for one in (run, smooth))
    assert after < 0.8 * before
    nees = consistency(smooth, truth)[:, 20].mean()
    low, high = (stats.chi2.ppf(q, 100 * 5) / 100 for q in (0.0005, 0.9995))
    assert low < nees < high


def test_smoothing_leaves_out_what_is_not_there():
    filter_ = straight(ExtendedKalmanFilter)
    _, values = drive(filter_, 2, 6)
    kept = torch.ones(2, 6, dtype=torch.bool)
    kept[1, 3:] = False
    rows, length = window(values, "place", kept=kept)
    smooth = filter_.smooth(filter_.run(rows, length))
    short, _ = window(values[1:, :3], "place")
    alone = filter_.smooth(filter_.run(short, length))
    assert torch.allclose(smooth.mean[1, :3], alone.mean[0], rtol=0, atol=1e-10)
    none = filter_.run({"place": replace(rows["place"], mask=torch.zeros(2, 6, dtype=torch.bool))}, length)
    assert filter_.smooth(none).mean.shape == (2, 0, 4)


def test_gradients_reach_the_noise():
    filter_ = turning(ExtendedKalmanFilter)
    _, values = drive(filter_, 2, 4)
    run = filter_.run(*window(values, "radar"))
    run.log_likelihood().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in filter_.parameters())


def test_no_iteration_is_refused():
    with pytest.raises(ValueError, match="iterations are 0"):
        turning(ExtendedKalmanFilter, iterations=0)


def test_straight_ahead_is_no_special_case():
    motion = turning(ExtendedKalmanFilter).motion
    x = torch.tensor([[*BEGIN[:4], 0.0], [*BEGIN[:4], 1e-9]], dtype=torch.float64)
    moved = motion(x, torch.full((2,), 2.0, dtype=torch.float64))
    assert torch.allclose(moved[0], moved[1], atol=1e-6)
    assert moved[0, :2].tolist() == pytest.approx([BEGIN[0] + 2 * BEGIN[2], BEGIN[1] + 2 * BEGIN[3]])


@pytest.mark.parametrize("rate", [0.0, 1e-6, 0.99e-4, 1.01e-4, 0.3, -2.0])
def test_written_jacobians_are_those_of_automatic_differentiation(rate):
    filter_ = turning(ExtendedKalmanFilter)
    x, elapsed = torch.tensor([[*BEGIN[:4], rate]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for model, given in ((filter_.motion, (x, elapsed)), (filter_.sensors["radar"], (x,))):
        by_hand, automatic = model.jacobian(*given), super(type(model), model).jacobian(*given)
        assert torch.allclose(by_hand, automatic, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "not symmetric"),
        (torch.tensor([[1.0, 1.0], [1.0, 1.0]]), "not positive definite"),
        (torch.full((2, 2), math.nan), "not finite"),
        (torch.eye(3), "noise has shape"),
    ],
)
def test_what_is_no_covariance_is_refused(iterations, noise, words):
    filter_ = turning(ExtendedKalmanFilter, iterations=iterations)
    value = torch.tensor([[0.5, 200.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=words):
        filter_.update(filter_.init_state(1), "radar", value, noise=noise[None].double())
