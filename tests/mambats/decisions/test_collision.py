import math

import pytest
import torch

from mambats.decisions import Boxes, Discs, time_to_collision
from mambats.gaussian import Gaussian

RADIUS = torch.tensor([1.0], dtype=torch.float64)


def relative(*numbers, deviation=0.0):
    """One body: px, py, vx, vy; deviation of all four."""
    mean = torch.tensor([numbers], dtype=torch.float64)
    return Gaussian(mean, deviation**2 * torch.eye(4, dtype=torch.float64)[None])


@pytest.mark.parametrize(
    ("numbers", "seconds"),
    [
        ((11.0, 0.0, -2.0, 0.0), 5.0),
        ((11.0, 0.6, -2.0, 0.0), (11 - 0.8) / 2),
        ((11.0, 1.2, -2.0, 0.0), math.inf),
        ((11.0, 0.0, 2.0, 0.0), math.inf),
        ((0.5, 0.0, 3.0, 0.0), 0.0),
        ((5.0, 0.0, 0.0, 0.0), math.inf),
        ((0.3, 0.3, 0.0, 0.0), 0.0),
    ],
)
def test_discs_meet_when_geometry_says(numbers, seconds):
    made = time_to_collision(relative(*numbers), Discs(RADIUS), 20.0)
    assert made.time.item() == pytest.approx(seconds)
    assert made.probability.item() == pytest.approx(float(seconds < 20), abs=2e-3)


def test_the_horizon_ends_the_way():
    for horizon, share in ((4.9, 0.0), (5.1, 1.0)):
        made = time_to_collision(relative(11.0, 0.0, -2.0, 0.0), Discs(RADIUS), horizon)
        assert made.probability.item() == pytest.approx(share, abs=1e-3) and made.time.item() == pytest.approx(5.0)


def test_a_sideways_error_gives_the_closed_probability():
    """Velocity known, passing by at 1.5 m with a deviation of 0.5 m: P(|N(1.5, 0.5)| < 1)."""
    covariance = torch.diag(torch.tensor([1e-6, 0.25, 0.0, 0.0], dtype=torch.float64))[None]
    body = Gaussian(torch.tensor([[30.0, 1.5, -5.0, 0.0]], dtype=torch.float64), covariance)
    expected = 0.5 * math.erfc(1 / math.sqrt(2)) - 0.5 * math.erfc(5 / math.sqrt(2))
    assert time_to_collision(body, Discs(RADIUS), 60.0).probability.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("position", "yaw", "seconds"),
    [
        ((10.0, 0.0), 0.0, (10 - 4) / 2),  # 4 m long each, head to tail
        ((10.0, 1.9), 0.0, (10 - 4) / 2),  # 2 m wide each: they still overlap
        ((10.0, 2.1), 0.0, math.inf),
        ((10.0, 2.9), math.pi / 2, (10 - 3) / 2),  # crosswise: 2 + 1 m along, 1 + 2 m across
        ((10.0, 3.1), math.pi / 2, math.inf),
        ((10.0, 0.0), math.pi / 4, (10 - 2 - 3 / math.sqrt(2)) / 2),  # a corner comes first
    ],
)
def test_boxes_meet_when_geometry_says(position, yaw, seconds):
    size = torch.tensor([[4.0, 2.0]], dtype=torch.float64)
    boxes = Boxes(size, size, torch.tensor([yaw], dtype=torch.float64))
    made = time_to_collision(relative(*position, -2.0, 0.0), boxes, 20.0)
    assert made.time.item() == pytest.approx(seconds)
    assert made.probability.item() == pytest.approx(float(seconds < 20), abs=2e-3)


def scattered(count):
    g = torch.Generator().manual_seed(1)
    draw = torch.rand(count, 4, generator=g, dtype=torch.float64)
    mean = draw * torch.tensor([40.0, 12.0, -10.0, 4.0]) - torch.tensor([5.0, 6.0, 0.0, 2.0])
    root = torch.randn(count, 4, 4, generator=g, dtype=torch.float64) * torch.tensor([0.6, 0.6, 0.4, 0.4])[:, None]
    return Gaussian(mean, root @ root.mT), g


def test_the_probability_is_that_of_sampling():
    bodies, g = scattered(12)
    radius, size = torch.full((12,), 1.5, dtype=torch.float64), torch.tensor([[4.5, 1.8]], dtype=torch.float64)
    yaw = torch.rand(12, generator=g, dtype=torch.float64) * 6
    boxes = Boxes(size.expand(12, 2), 0.8 * size.expand(12, 2), yaw)
    noise = torch.randn(5000, 4, generator=g, dtype=torch.float64)
    for shape in (Discs(radius), boxes):
        made = time_to_collision(bodies, shape, 3.0)
        assert ((made.probability > 0.05) & (made.probability < 0.95)).sum() >= 3
        for k in range(12):
            drawn = bodies.mean[k] + noise @ torch.linalg.cholesky(bodies.covariance[k] + 1e-9 * torch.eye(4)).mT
            one = Discs(radius[k]) if isinstance(shape, Discs) else Boxes(boxes.own[k], boxes.other[k], yaw[k])
            sure = Gaussian(drawn, torch.zeros(5000, 4, 4, dtype=torch.float64))
            share = (time_to_collision(sure, one, 3.0, velocities=1, nodes=1).time <= 3).double().mean()
            # Four standard errors of 5,000 draws, and the lattice's 0.005.
            assert made.probability[k].item() == pytest.approx(share.item(), abs=0.028 + 0.005)


def test_more_error_makes_the_sure_doubtful_and_gradients_flow():
    size = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    body = relative(11.0, 0.9, -2.0, 0.0)
    spread = Gaussian(body.mean, size**2 * torch.eye(4, dtype=torch.float64)[None])
    (slope,) = torch.autograd.grad(time_to_collision(spread, Discs(RADIUS), 20.0).probability.sum(), size)
    assert slope.item() < 0


def test_float32_and_a_singular_covariance_hold():
    bodies, _ = scattered(6)
    rank_one = bodies.mean[:, :, None] * bodies.mean[:, None, :] * 0.01
    exact = time_to_collision(Gaussian(bodies.mean, rank_one), Discs(RADIUS), 3.0)
    single = time_to_collision(Gaussian(bodies.mean.float(), rank_one.float()), Discs(RADIUS.float()), 3.0)
    assert single.probability.dtype == torch.float32
    assert torch.allclose(single.probability.double(), exact.probability, atol=5e-3)
    none = time_to_collision(Gaussian(bodies.mean[:0], rank_one[:0]), Discs(RADIUS[:0]), 3.0)
    assert none.time.shape == none.probability.shape == (0,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: (Gaussian(b.mean[:, :3], b.covariance), 1.0), "px, py, vx, vy"),
        (lambda b: (Gaussian(b.mean * math.nan, b.covariance), 1.0), "not finite"),
        (lambda b: (Gaussian(b.mean, b.covariance - torch.eye(4)), 1.0), "negative variance"),
        (lambda b: (Gaussian(b.mean, b.covariance + torch.ones(4, 4).triu(1)), 1.0), "not symmetric"),
        (lambda b: (b, 0.0), "horizon is 0.0"),
        (lambda b: (b, math.inf), "horizon is inf"),
    ],
)
def test_what_is_no_distribution_is_refused(change, words):
    body, horizon = change(relative(1.0, 0.0, 0.0, 0.0, deviation=0.5))
    with pytest.raises(ValueError, match=words):
        time_to_collision(body, Discs(RADIUS), horizon)
