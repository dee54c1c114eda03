import math

import numpy as np
import pytest
import torch
from scipy import stats

from mambats.estimators.sigma import SigmaPoints
from mambats.estimators.unscented import UnscentedKalmanFilter
from mambats.gaussian import Gaussian
from tests.mambats.estimators.turning import consistency, drive, linear, steps, straight, turning, window

POINTS = [None, SigmaPoints(0.5, 2.0, 1.0), SigmaPoints(1e-2, 2.0, 0.0)]


@pytest.mark.parametrize("points", POINTS)
def test_on_a_linear_model_it_is_the_kalman_filter_and_its_smoother(points):
    filter_ = straight(UnscentedKalmanFilter, points=points)
    _, values = drive(filter_, 3, 12, 0.7)
    run = filter_.run(*window(values, "place", 0.7))
    for made, expected in zip((run, filter_.smooth(run)), linear(filter_, values, 0.7), strict=True):
        for k, (mean, covariance) in enumerate(expected):
            assert torch.allclose(made.mean[:, k], mean, rtol=0, atol=1e-8)
            assert torch.allclose(made.covariance[:, k], covariance, rtol=0, atol=1e-8)


@pytest.mark.parametrize("points", POINTS)
def test_it_is_filterpys_on_a_turn(points):
    kalman = pytest.importorskip("filterpy.kalman")
    filter_ = turning(UnscentedKalmanFilter, points=points)
    _, values = drive(filter_, 1, 30, seed=3)
    elapsed, sensor = torch.ones(1, dtype=torch.float64), filter_.sensors["radar"]

    def move(x, dt):
        return filter_.motion(torch.as_tensor(x)[None], elapsed)[0].detach().numpy()

    def see(x):
        return sensor(torch.as_tensor(x)[None])[0].detach().numpy()

    p = filter_.points
    peer = kalman.UnscentedKalmanFilter(
        5, 2, 1.0, see, move, kalman.MerweScaledSigmaPoints(5, p.alpha, p.beta, p.kappa)
    )
    begin = filter_.init_state(1)
    peer.x, peer.P = begin.mean[0].detach().numpy(), begin.covariance[0].detach().numpy()
    peer.Q, peer.R = (noise(elapsed)[0].detach().numpy() for noise in (filter_.motion.noise, sensor.noise))
    for value, state in zip(values[0], steps(filter_, values), strict=True):
        peer.predict()
        # What was predicted is where the next points lie: filterpy else keeps those that were moved.
        peer.sigmas_f = peer.points_fn.sigma_points(peer.x, peer.P)
        peer.update(value.numpy())
        assert np.allclose(state.mean[0].detach().numpy(), peer.x, rtol=0, atol=1e-8)
        assert np.allclose(state.covariance[0].detach().numpy(), peer.P, rtol=0, atol=1e-8)


def test_it_knows_how_wrong_it_is_over_many_runs_and_smoothing_too():
    filter_ = turning(UnscentedKalmanFilter)
    truth, values = drive(filter_, 400, 40)
    with torch.no_grad():
        run = filter_.run(*window(values, "radar"))
        smooth = filter_.smooth(run)
    low, high = (stats.chi2.ppf(q, 400 * 5) / 400 for q in (0.0005, 0.9995))
    for made, k in ((run, -1), (run, 20), (smooth, 20)):
        assert low < consistency(Gaussian(made.mean[:, k], made.covariance[:, k]), truth[:, k]).mean() < high
    before, after = ((one.mean - truth)[..., :2].norm(dim=-1)[:, :30].mean() for one in (run, smooth))
    assert after < 0.8 * before


def test_a_square_is_carried_exactly():
    """z = x^2 of x ~ N(m, v) has mean m^2 + v and best slope 2 m; its variance is that of the published weights."""
    m, v = 0.7, 0.5
    given = Gaussian(torch.tensor([[m]], dtype=torch.float64), torch.tensor([[[v]]], dtype=torch.float64))
    made = SigmaPoints(1.0, 2.0, 2.0).carry(given, torch.square)
    assert made.mean.item() == pytest.approx(m**2 + v) and made.matrix.item() == pytest.approx(2 * m)
    published = weighted(given, torch.square, 1.0, 2.0, 2.0)
    assert (made.matrix * v * made.matrix + made.noise).item() == pytest.approx(published)


def weighted(given, function, alpha, beta, kappa):
    """The transform by its published weights, of one number."""
    n, mean = 1, given.mean[0]
    scale = alpha**2 * (n + kappa) - n
    root = torch.linalg.cholesky((n + scale) * given.covariance[0])[:, 0]
    values = torch.stack([function(x) for x in (mean, mean + root, mean - root)])[:, 0]
    weights = torch.full((3,), 0.5 / (n + scale), dtype=torch.float64)
    weights[0] = scale / (n + scale)
    centre = (weights * values).sum()
    weights[0] += 1 - alpha**2 + beta
    return (weights * (values - centre).square()).sum().item()


def test_small_alpha_in_float32_keeps_covariances_proper():
    g = torch.Generator().manual_seed(0)
    filter_ = turning(UnscentedKalmanFilter, points=SigmaPoints(1e-3)).float()
    state, elapsed = filter_.init_state(16), torch.full((16,), 0.5)
    for _ in range(50):
        value = torch.stack([torch.randn(16, generator=g), 200 * torch.rand(16, generator=g)], -1)
        state, _ = filter_.update(filter_.predict(state, elapsed), "radar", value)
        assert (torch.linalg.eigvalsh(state.covariance.detach().double()) > 0).all()


def test_a_bearing_across_the_back_is_a_small_step():
    filter_ = turning(UnscentedKalmanFilter)
    before = filter_.init_state(1)
    before = before._replace(mean=torch.tensor([[-190.0, -5.5, 0.0, 0.0, 0.0]], dtype=torch.float64))
    _, told = filter_.update(before, "radar", torch.tensor([[math.pi - 0.01, 200.0]], dtype=torch.float64))
    assert abs(told.residual[0, 0].item()) < 0.05


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SigmaPoints(0.0), "alpha is 0.0"),
        (lambda: SigmaPoints(1.0, 0.5), "beta 0.5"),
        (lambda: steps(straight(UnscentedKalmanFilter, points=SigmaPoints(kappa=-4.0)), torch.zeros(1, 1, 2)), "kappa"),
    ],
)
def test_points_that_are_none_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
