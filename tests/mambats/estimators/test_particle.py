import math

import pytest
import torch
from scipy import stats

from mambats.estimators import draws
from mambats.estimators.cloud import ParticleState, effective, moments, redraw
from mambats.estimators.extended import ExtendedKalmanFilter
from mambats.estimators.models import Sensor
from mambats.estimators.noise import ConstantNoise
from mambats.estimators.particle import ParticleFilter
from tests.mambats.estimators.turning import Places, Straight, consistency, drive, linear, steps, straight, turning


def test_draws_are_even_normal_and_each_rows_own():
    keys = draws.new_keys(4, seed=3)
    even = draws.uniform(keys, 20000)
    assert all(stats.kstest(row.numpy(), "uniform").pvalue > 1e-3 for row in even)
    made = draws.normal(keys, 5000, 3)
    assert stats.kstest(made.flatten().numpy(), "norm").pvalue > 1e-3
    assert torch.corrcoef(torch.cat([made[0].T, made[1].T])).sub(torch.eye(6)).abs().max() < 0.07
    assert torch.equal(draws.uniform(keys[[2, 0]], 7), draws.uniform(keys, 7)[[2, 0]])
    assert not torch.equal(draws.uniform(draws.next_keys(keys), 7), draws.uniform(keys, 7))


def test_keys_come_from_a_generator_or_a_seed():
    filter_ = straight(ParticleFilter, particles=10)
    one, two, three = (filter_.init_state(3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.particles, two.particles) and not torch.equal(one.particles, three.particles)
    assert torch.equal(filter_.init_state(3).particles, filter_.init_state(3).particles)
    other = straight(ParticleFilter, particles=10, seed=1)
    assert not torch.equal(filter_.init_state(3).particles, other.init_state(3).particles)


def test_on_a_linear_model_it_is_the_kalman_filter_but_for_chance():
    """Clouds from 8 seeds at once: they err as chance does, with the root of their particles, and none to one side."""
    filter_ = straight(ParticleFilter)
    _, values = drive(filter_, 1, 12, 0.7)
    values, errors = values.expand(8, -1, -1), []
    for count in (500, 8000):
        filter_ = straight(ParticleFilter, particles=count)
        with torch.no_grad():
            clouds, expected = steps(filter_, values, 0.7)[6:], linear(filter_, values, 0.7)[0][6:]
        pairs = [(filter_.estimate(cloud), *known) for cloud, known in zip(clouds, expected, strict=True)]
        away = torch.stack([(one.mean - m) / c.diagonal(dim1=-2, dim2=-1).sqrt() for one, m, c in pairs])
        errors.append(away.square().mean().sqrt().item())
    assert errors[1] < 0.18 and errors[0] / errors[1] > 2
    assert away.mean((0, 1)).abs().max() < 0.1
    shares = [torch.linalg.solve(c, one.covariance).diagonal(dim1=-2, dim2=-1).mean().item() for one, _, c in pairs]
    assert sum(shares) / len(shares) == pytest.approx(1, abs=0.06)


def test_the_likelihood_is_the_kalman_filters_but_for_chance():
    filter_, exact = straight(ParticleFilter, particles=20000), straight(ExtendedKalmanFilter)
    _, values = drive(filter_, 1, 8)
    elapsed, total = torch.ones(1, dtype=torch.float64), [0.0, 0.0]
    for k, one in enumerate((filter_, exact)):
        state = one.init_state(1)
        for value in values.unbind(1):
            state, told = one.update(one.predict(state, elapsed), "place", value)
            total[k] += told.log_likelihood.item()
    assert total[0] == pytest.approx(total[1], abs=0.4)


def test_on_a_turn_it_knows_how_wrong_it_is_and_is_no_worse_than_the_extended_filter():
    filter_, other = turning(ParticleFilter, particles=3000), turning(ExtendedKalmanFilter)
    truth, values = drive(filter_, 30, 10)
    with torch.no_grad():
        made, extended = steps(filter_, values)[-1], steps(other, values)[-1]
        estimate = filter_.estimate(made)
    low, high = (stats.chi2.ppf(q, 30 * 5) / 30 for q in (0.0005, 0.9995))
    assert low < consistency(estimate, truth[:, -1]).mean() < high
    error, bar = ((mean - truth[:, -1])[:, :2].norm(dim=-1).mean() for mean in (estimate.mean, extended.mean))
    assert error < 1.1 * bar


def test_drawing_anew_keeps_the_moments_and_leaves_no_two_the_same():
    g = torch.Generator().manual_seed(0)
    particles = torch.randn(2, 4000, 3, generator=g, dtype=torch.float64) @ torch.tensor(
        [[1.0, 0, 0], [0.5, 2, 0], [0, 0, 0.1]], dtype=torch.float64
    )
    log_weights = torch.log_softmax(-particles[..., 0].square(), -1)
    cloud = ParticleState(particles, log_weights, draws.new_keys(2, 0))
    before = moments(cloud)
    after = redraw(cloud, before)
    again = moments(after)
    size = before.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert ((again.mean - before.mean) / size).abs().max() < 0.06
    scaled = (again.covariance - before.covariance) / size[:, :, None] / size[:, None]
    assert scaled.abs().max() < 0.12
    assert len(after.particles[0].unique(dim=0)) == 4000
    assert torch.allclose(effective(after), torch.tensor(4000.0).double())


def test_systematic_drawing_takes_each_as_often_as_it_weighs():
    particles = torch.arange(4.0, dtype=torch.float64).repeat_interleave(250)[None, :, None]
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).repeat_interleave(250)[None] / 250
    cloud = ParticleState(particles, weights.log(), draws.new_keys(1, 0))
    # Without a kernel: a covariance of zero, and the shrinking undone.
    spread = moments(cloud)._replace(covariance=torch.zeros(1, 1, 1, dtype=torch.float64))
    drawn = redraw(cloud, spread).particles
    values, counts = drawn.mul(1e6).round().unique(return_counts=True)
    assert len(values) == 4 and (counts - torch.tensor([100, 200, 300, 400])).abs().max() <= 1


def test_two_hypotheses_survive_where_one_normal_distribution_cannot_hold_them():
    class Distance(Sensor):
        size = 1

        def __init__(self):
            super().__init__()
            self.noise = ConstantNoise([0.2])

        def forward(self, x):
            return x[:, :1].abs()

    filter_ = ParticleFilter(Straight(), {"away": Distance()}, ConstantNoise([3.0, 3.0, 1.0, 1.0])).double()
    state, _ = filter_.update(filter_.init_state(1), "away", torch.tensor([[4.0]], dtype=torch.float64))
    left = state.log_weights.exp()[state.particles[..., 0] < 0].sum()
    assert 0.3 < left < 0.7 and filter_.estimate(state).deviation[0, 0] > 3


def test_gradients_pass_through_weights_and_likelihood():
    filter_ = turning(ParticleFilter, particles=200)
    state, value = filter_.init_state(2), torch.tensor([[0.5, 210.0]] * 2, dtype=torch.float64, requires_grad=True)
    _, told = filter_.update(filter_.predict(state, torch.ones(2).double()), "radar", value)
    told.log_likelihood.sum().backward()
    assert torch.isfinite(value.grad).all() and (value.grad != 0).all()
    assert all(torch.isfinite(p.grad).all() for p in filter_.parameters())
    assert filter_.sensors["radar"].noise.log_diagonal.grad.abs().min() > 0
    never = turning(ParticleFilter, particles=200, resample=0.0)
    after, _ = never.update(never.init_state(2), "radar", value)
    (slope,) = torch.autograd.grad(never.estimate(after).mean.sum(), value)
    assert torch.isfinite(slope).all() and (slope != 0).all()


def test_masks_holes_gates_and_the_impossible():
    filter_ = turning(ParticleFilter, particles=300, gate=0.999)
    before = filter_.init_state(5)
    value = filter_.sensors["radar"](filter_.estimate(before).mean).detach()
    value[1], value[2, 0] = math.nan, math.nan
    value[3, 1] += 1e4
    value[4, 1] += 1e200
    after, told = filter_.update(before, "radar", value, mask=torch.tensor([False, True, True, True, True]))
    assert told.used.tolist() == [False, False, True, False, False]
    for row in (0, 1, 3, 4):
        assert all(torch.equal(a[row], b[row]) for a, b in zip(after, before, strict=True))
    assert torch.isfinite(after.particles).all() and told.log_likelihood[1] == 0
    wide = turning(ParticleFilter, particles=300)
    state, _ = wide.update(before, "radar", value.nan_to_num(0.5))
    assert torch.isfinite(wide.estimate(state).mean[:4]).all()


def test_a_cloud_that_collapsed_spreads_again():
    filter_ = turning(ParticleFilter, particles=100).float()
    state = filter_.init_state(2)
    for _ in range(5):
        state, _ = filter_.update(state, "radar", torch.tensor([[0.6, 150.0]] * 2))
        covariance = filter_.estimate(state).covariance
        assert (torch.linalg.eigvalsh(covariance.double()) > 0).all()
    assert len(state.particles[0].unique(dim=0)) > 90


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"particles": 1}, "particles are 1"), ({"resample": 2.0}, "resample 2.0"), ({"mean": (1.0,)}, "mean has 1")],
)
def test_numbers_out_of_range_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        ParticleFilter(Straight(), {"place": Places()}, ConstantNoise([1.0] * 4), **changes)


def test_unknown_streams_and_other_shapes_are_refused():
    filter_ = straight(ParticleFilter, particles=10)
    state = filter_.init_state(2)
    with pytest.raises(ValueError, match="'sonar' is not known"):
        filter_.update(state, "sonar", torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"needed \(B, m\)"):
        filter_.update(state, "place", torch.zeros(2, 3))
    with pytest.raises(ValueError, match="needed 0 or more"):
        filter_.predict(state, torch.tensor([0.0, -1.0]))
