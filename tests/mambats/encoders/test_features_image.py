"""Pictures: each stands for itself, patches keep their places, both directions are read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mambats.encoders.features import ImageEncoder
from mambats.mixers import MambaSettings
from mambats.series import SensorRows

SMALL = MambaSettings(state_size=3)
KINDS = [("mean", "raster"), ("class", "raster"), ("mean", "hilbert"), ("class", "hilbert")]


def build(pool: str, order: str, layers: int = 2) -> ImageEncoder:
    torch.manual_seed(1)
    return ImageEncoder(2, 8, layers, (12, 20), 4, pool, order, SMALL).double()


def pictures(*axes: int) -> Tensor:
    return torch.randn(*axes, 2, 12, 20, dtype=torch.float64)


@pytest.mark.parametrize(("pool", "order"), KINDS)
def test_company_changes_nothing_and_any_leading_axes_will_do(pool: str, order: str) -> None:
    model, images = build(pool, order), pictures(2, 3)
    made = model(images)
    assert made.shape == (2, 3, 8)
    torch.testing.assert_close(model(images[1, 2]), made[1, 2], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model(images.flip(0)), made.flip(0), rtol=1e-10, atol=1e-10)
    assert model(images[:0]).shape == (0, 3, 8)
    assert model.patches(images[:0]).shape == (0, 3, 3, 5, 8)


@pytest.mark.parametrize(("pool", "order"), KINDS)
def test_every_patch_reaches_the_token_both_ways(pool: str, order: str) -> None:
    model, images = build(pool, order), pictures(1).requires_grad_()
    model(images).sum().backward()
    assert images.grad is not None
    seen = images.grad.abs().unflatten(2, (3, 4)).unflatten(4, (5, 4)).sum((1, 3, 5))
    assert (seen > 0).all()
    one = build(pool, order).patches(images)[0, 1, 2].sum()
    (grad,) = torch.autograd.grad(one, images)
    assert (grad.abs().unflatten(2, (3, 4)).unflatten(4, (5, 4)).sum((1, 3, 5)) > 0).all()


@pytest.mark.parametrize(("pool", "order"), KINDS)
def test_patches_stand_where_they_were(pool: str, order: str) -> None:
    model, images = build(pool, order, layers=0), pictures(1)
    changed = images.clone()
    changed[0, :, 9, 17] += 1  # row 2, column 4 of patches of 4
    apart = (model.patches(changed) - model.patches(images))[0].abs().sum(-1)
    assert apart.nonzero().tolist() == [[2, 4]]


def test_the_class_token_stands_in_the_middle() -> None:
    model = build("class", "raster")
    with torch.no_grad():
        before = model(pictures(1))
        model.token += 1
        assert not torch.allclose(model(pictures(1)), before)
    token, middle = model._mix(pictures(1))
    assert (token.shape[1], middle) == (16, 7)


def test_places_are_told_apart() -> None:
    images = pictures(1)
    mirrored = images.unflatten(-1, (5, 4)).flip(-2).flatten(-2)
    model = build("mean", "raster", layers=0)
    assert torch.allclose(model.embedding(images).mean((2, 3)), model.embedding(mirrored).mean((2, 3)))
    assert not torch.allclose(model(images), model(mirrored))


@pytest.mark.parametrize(("pool", "order"), KINDS)
def test_gradients_are_those_of_differences(pool: str, order: str) -> None:
    model, images = build(pool, order), pictures(1).requires_grad_()
    assert torch.autograd.gradcheck(model, images, fast_mode=True)
    model(images).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_bytes_become_minus_one_to_one() -> None:
    model, images = build("mean", "raster"), torch.randint(256, (1, 2, 12, 20), dtype=torch.uint8)
    torch.testing.assert_close(model(images), model(images.double() / 127.5 - 1))


@pytest.mark.parametrize(("pool", "order"), KINDS)
def test_lower_precision_is_near(pool: str, order: str) -> None:
    model, images = build(pool, order), pictures(4)
    exact = model(images)
    torch.testing.assert_close(model.float()(images.float()).double(), exact, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(images.float())
    torch.testing.assert_close(half.double(), exact, rtol=0.1, atol=0.1)


def test_streams_of_pictures_become_streams_of_tokens() -> None:
    model, images = build("mean", "raster"), pictures(2, 3)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    images[~mask] = torch.nan
    made = model.encode_rows(SensorRows(images, mask, torch.ones(2, 3), torch.arange(6).view(2, 3)), 9)
    assert made.values.isfinite().all()
    assert made.values[~mask].eq(0).all()
    torch.testing.assert_close(made.values[0, :2], model(images[0, :2]), rtol=1e-10, atol=1e-10)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="size in whole patches"):
        ImageEncoder(3, 8, size=(10, 16), patch=8)
    with pytest.raises(ValueError, match="pool is 'max'"):
        ImageEncoder(3, 8, pool="max")
    model = build("mean", "raster")
    with pytest.raises(ValueError, match=r"images have shape \(1, 12, 20, 2\): need \(..., 2, 12, 20\)"):
        model(torch.zeros(1, 12, 20, 2))
    with pytest.raises(ValueError, match="need uint8 or a float"):
        model(torch.zeros(1, 2, 12, 20, dtype=torch.int64))


@pytest.mark.gpu
@pytest.mark.parametrize(("pool", "order"), KINDS)
def test_a_gpu_gives_the_same(pool: str, order: str) -> None:
    model, images = build(pool, order).float(), pictures(2).float()
    here = model(images)
    torch.testing.assert_close(model.cuda()(images.cuda()).cpu(), here, rtol=1e-3, atol=1e-3)
