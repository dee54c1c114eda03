import pytest
import torch

from mambats.forecast.losses import MAE, MSE, Huber, Pinball

POINT = [MSE(), MAE(), Huber(0.7)]


@pytest.fixture
def batch():
    forecast = torch.randn(3, 4, 2, requires_grad=True)
    target = torch.randn(3, 4, 2)
    observed = torch.rand(3, 4, 2) > 0.4
    return forecast, target, observed


@pytest.mark.parametrize("loss", POINT, ids=lambda loss: type(loss).__name__)
def test_mean_over_observed_entries_only(loss, batch):
    forecast, target, observed = batch
    kept = loss(forecast[observed].view(1, -1, 1), target[observed].view(1, -1, 1))
    torch.testing.assert_close(loss(forecast, target, observed), kept)
    assert not torch.isclose(loss(forecast, target), kept)


def test_values_by_hand():
    forecast, target = torch.tensor([[[1.0], [4.0]]]), torch.tensor([[[1.5], [1.0]]])
    assert MSE()(forecast, target) == pytest.approx((0.25 + 9) / 2)
    assert MAE()(forecast, target) == pytest.approx((0.5 + 3) / 2)
    assert Huber(1.0)(forecast, target) == pytest.approx((0.125 + 2.5) / 2)
    quantiles = torch.tensor([[[[0.0, 3.0]]]])
    # e = 1 and -2: 0.1 * 1 and (0.9 - 1) * -2
    assert Pinball((0.1, 0.9))(quantiles, torch.tensor([[[1.0]]])) == pytest.approx((0.1 + 0.2) / 2)


def test_the_median_of_pinball_is_half_the_absolute_error(batch):
    forecast, target, observed = batch
    assert torch.isclose(
        Pinball((0.5,))(forecast.unsqueeze(-1), target, observed), MAE()(forecast, target, observed) / 2
    )


@pytest.mark.parametrize("loss", [*POINT, Pinball((0.2, 0.5))], ids=lambda loss: type(loss).__name__)
def test_nothing_observed_gives_zero_with_a_gradient(loss, batch):
    forecast, target, _ = batch
    given = forecast.unsqueeze(-1).expand(3, 4, 2, 2) if loss.quantiles else forecast
    value = loss(given, torch.full_like(target, float("nan")), torch.zeros_like(target, dtype=torch.bool))
    value.backward()
    assert value == 0
    assert torch.equal(forecast.grad, torch.zeros_like(forecast))


def test_absent_nan_reaches_neither_value_nor_gradient(batch):
    forecast, target, observed = batch
    holes = torch.where(observed, target, float("nan"))
    value = MSE()(forecast, holes, observed)
    value.backward()
    torch.testing.assert_close(value, MSE()(forecast, target, observed))
    assert forecast.grad.isfinite().all()
    assert (forecast.grad[~observed] == 0).all()


def test_low_precision_is_summed_in_float32():
    forecast, target = torch.zeros(64, 96, 7, dtype=torch.bfloat16), torch.ones(64, 96, 7)
    value = MSE()(forecast, target)
    assert value.dtype == torch.float32
    assert value == 1


def test_arguments_stay_readable():
    assert Huber(0.3).delta == 0.3
    assert Pinball([0.1, 0.9]).quantiles == (0.1, 0.9)


@pytest.mark.parametrize("levels", [(), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5), (0.9, 0.1)])
def test_bad_levels_are_refused(levels):
    with pytest.raises(ValueError, match="within"):
        Pinball(levels)


def test_bad_input_is_refused(batch):
    forecast, target, observed = batch
    with pytest.raises(ValueError, match="need the same"):
        MSE()(forecast[:, :1], target)  # would broadcast
    with pytest.raises(ValueError, match="need values of shape"):
        Pinball((0.1, 0.9))(forecast, target)
    with pytest.raises(ValueError, match=r"torch\.bool"):
        MSE()(forecast, target, observed.float())
    with pytest.raises(ValueError, match="delta is 0"):
        Huber(0)
