"""The ground: heights, slopes, and where rays meet it first."""

import pytest
import torch

from mambats_datasets.synthetic.world.ground import Ground


def hills(relief=1.0, seed=0):
    return Ground.draw(torch.Generator().manual_seed(seed), torch.zeros(2, dtype=torch.float64), relief)


def fan(generator, rays=400):
    origin = torch.zeros(2, 1, 3, dtype=torch.float64)
    origin[..., 2] = 2.5
    turn = 2 * torch.pi * torch.rand(2, 1, rays, generator=generator, dtype=torch.float64)
    down = 0.15 * torch.randn(2, 1, rays, generator=generator, dtype=torch.float64)
    return origin, torch.stack([turn.cos() * down.cos(), turn.sin() * down.cos(), down.sin()], -1)


def test_slope_is_the_derivative_of_the_height():
    ground, place = hills(), torch.randn(2, 7, 2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ground.height(place).sum(), place)
    torch.testing.assert_close(ground.slope(place), slope)
    assert (ground.height(place).abs() <= 1.0).all()


@pytest.mark.parametrize("seed", range(2))
def test_rays_end_on_the_ground_and_not_before(seed):
    ground, generator = hills(seed=seed), torch.Generator().manual_seed(seed)
    origin, along = fan(generator)
    reach = ground.cast(origin, along, 150.0)
    met = reach.isfinite()
    assert 0.4 < met.double().mean() < 0.9
    ends = origin[:, :, None] + reach.nan_to_num(posinf=0.0)[..., None] * along
    assert (ends[..., 2] - ground.height(ends[..., :2]))[met].abs().max() < 1e-9
    for share in torch.linspace(0.001, 0.9999, 150, dtype=torch.float64):
        between = origin[:, :, None] + (share * reach.clamp_max(150.0))[..., None] * along
        assert (between[..., 2] > ground.height(between[..., :2])).all(), "a hill was jumped over"


def test_a_plane_takes_one_step():
    ground, (origin, along) = hills(relief=0.0), fan(torch.Generator().manual_seed(0))
    reach = ground.cast(origin, along, 100.0)
    wanted = -2.5 / along[..., 2]
    wanted = torch.where((wanted > 0) & (wanted <= 100), wanted, torch.inf)
    torch.testing.assert_close(reach, wanted)


def test_far_from_the_origin_single_precision_holds():
    ground, (origin, along) = hills(), fan(torch.Generator().manual_seed(0))
    origin[..., :2] += 5e4
    double, single = ground.cast(origin, along, 100.0), ground.cast(origin, along.float(), 100.0)
    both = double.isfinite() & single.isfinite()
    assert (double.isfinite() == single.isfinite()).double().mean() > 0.99
    assert (double - single)[both].abs().median() < 1e-4
