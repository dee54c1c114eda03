"""Noise set by an encoder: the plain filter before training, better where noise changes, causal, the same by step."""

import pytest
import torch

from mambats.encoders import CausalEncoder
from mambats.estimators.extended import ExtendedKalmanFilter
from mambats.estimators.learned import LearnedNoise, surprise
from mambats.estimators.models import Sensor
from mambats.estimators.noise import ConstantNoise
from mambats.estimators.run import filter_window
from mambats.series import SensorRows
from tests.mambats.estimators.inertial_case import drive, navigator, started
from tests.mambats.estimators.turning import Straight, straight


def learned(estimator, seed=0, stir=0.0):
    torch.manual_seed(seed)
    channels = LearnedNoise.channels_for(estimator)
    model = LearnedNoise(estimator, CausalEncoder(channels, width=8, layers=1), period=0.2).double()
    torch.nn.init.normal_(model.head.weight, std=stir)
    return model


def switching(batch=12, length=40, seed=0):
    """Places whose noise is 1 m in one half of each 20 s and 6 m in the other; the body keeps its speed."""
    g = torch.Generator().manual_seed(seed)
    time = torch.arange(1, length + 1).double()
    loud = ((time + 20 * torch.rand(batch, 1, generator=g)) % 20 > 10).double()
    noise = torch.randn(batch, length, 2, generator=g).double() * (1 + 5 * loud)[..., None]
    values = torch.stack([1 + 0.5 * time, 2 + 0 * time], -1) + noise
    stamps = (time * 1e9).long().expand(batch, -1).contiguous()
    ones = torch.ones(batch, length)
    return {"place": SensorRows(values, ones.bool(), ones, stamps)}, length * 10**9


def test_before_training_it_is_the_plain_filter_to_the_bit():
    plain = straight(ExtendedKalmanFilter)
    rows, length = switching(3, 10)
    a, b = filter_window(plain, rows, length), filter_window(learned(plain), rows, length)
    assert torch.equal(a.mean, b.mean) and torch.equal(a.covariance, b.covariance)
    made, rows, length = drive(batch=2, seconds=1.0)
    inertial = navigator("gnss", "wheel")
    start = started(inertial, made.motion)
    model = learned(inertial)
    a, b = inertial.run(rows, length, start)[0], model.run(rows, length, model.started(start))[0]
    assert torch.equal(a.position, b.position) and torch.equal(a.covariance, b.covariance)


def test_a_run_equals_steps():
    made, rows, length = drive(batch=2, seconds=0.6)
    inertial = navigator("gnss", "wheel")
    model = learned(inertial, stir=0.5)
    start = model.started(started(inertial, made.motion))
    with torch.no_grad():
        _, end = model.run(rows, length, start)
        slow = filter_window(model, rows, length, state=start).state
    assert (end.scale - 1).abs().max() > 0.01
    # The bias that is learned in the window enters the sums to first order.
    torch.testing.assert_close(end.filter.position, slow.filter.position, rtol=0, atol=2e-4)
    torch.testing.assert_close(end.scale, slow.scale, rtol=1e-2, atol=1e-3)


def test_a_measurement_does_not_set_its_own_noise():
    plain = straight(ExtendedKalmanFilter)
    model = learned(plain, stir=1.0)
    rows, length = switching(2, 6)
    other = rows["place"].values.clone()
    other[:, 3] += 1.0
    changed = {"place": SensorRows(other, rows["place"].mask, rows["place"].gaps, rows["place"].stamps)}
    with torch.no_grad():
        one, two = filter_window(model, rows, length), filter_window(model, changed, length)
    spread = [made.innovations["place"].covariance for made in (one, two)]
    assert torch.equal(spread[0][:, :4], spread[1][:, :4])
    assert not torch.equal(spread[0][:, 4:], spread[1][:, 4:])


@pytest.mark.slow
def test_training_by_likelihood_finds_noise_that_changes():
    plain = straight(ExtendedKalmanFilter)
    model = learned(plain)
    rows, length = switching()
    rest, _ = switching(seed=1)

    def fit(module, steps, rate):
        adam = torch.optim.Adam(module.parameters(), rate)
        for _ in range(steps):
            adam.zero_grad()
            loss = surprise(filter_window(module, rows, length).innovations.values())
            loss.backward()
            adam.step()
        with torch.no_grad():
            return float(surprise(filter_window(module, rest, length).innovations.values()))

    constant = fit(plain, 15, 0.1)
    # The oracle that knows when it is loud gains 0.3 nats a number over one noise for all.
    assert fit(model, 25, 0.03) < constant - 0.1


class Network(Sensor):
    """A measurement model that is a network."""

    def __init__(self):
        super().__init__()
        self.size, self.noise = 2, ConstantNoise([1.0, 1.0])
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))

    def forward(self, x):
        return self.net(x / 30) * 30


def test_a_measurement_model_may_be_a_network():
    torch.manual_seed(0)
    plain = ExtendedKalmanFilter(
        Straight(), {"place": Network()}, ConstantNoise([3.0] * 4), mean=(1.0, 2.0, 0.5, 0.0)
    ).double()
    model = learned(plain)
    rows, length = switching(4, 12)
    adam, losses = torch.optim.Adam(model.parameters(), 0.02), []
    for _ in range(6):
        adam.zero_grad()
        run = filter_window(model, rows, length)
        losses.append(surprise(run.innovations.values()))
        losses[-1].backward()
        adam.step()
    assert losses[-1] < losses[0] - 0.1
    assert torch.linalg.eigvalsh(run.covariance).min() > 0


def test_what_does_not_fit_is_said():
    plain = straight(ExtendedKalmanFilter)
    with pytest.raises(ValueError, match="channels_for"):
        LearnedNoise(plain, CausalEncoder(3, width=8, layers=1))
    with pytest.raises(ValueError, match="widest"):
        LearnedNoise(plain, CausalEncoder(LearnedNoise.channels_for(plain), width=8, layers=1), widest=1.0)
    with pytest.raises(TypeError, match="filter_window"):
        learned(plain).run(*switching(1, 3))
    with pytest.raises(TypeError, match="cannot be scaled"):
        LearnedNoise(torch.nn.Identity(), CausalEncoder(3, width=8, layers=1))
    with pytest.raises(ValueError, match="no innovation"):
        surprise([])


def test_numbers_that_are_not_finite_change_nothing():
    model = learned(straight(ExtendedKalmanFilter), stir=0.5)
    state = model.init_state(2)
    after, told = model.update(state, "place", torch.full((2, 2), torch.nan).double())
    assert not told.used.any() and torch.equal(after.scale, state.scale)
    assert torch.equal(after.filter.mean, state.filter.mean)


def test_gradients_can_be_cut():
    made, rows, length = drive(batch=1, seconds=0.4)
    inertial = navigator("gnss", "wheel")
    model = learned(inertial, stir=0.5)
    start = model.started(started(inertial, made.motion))
    for cut in (None, 5):
        model.zero_grad()
        track, _ = model.run(rows, length, start, cut=cut)
        surprise(track.innovations.values()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        assert model.head.weight.grad.abs().sum() > 0
