"""The forecaster streams with the numbers of its parallel pass, and reads nothing it should not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.encoders import CausalEncoder, PatchEncoder
from mambats.forecast import Cycle, DirectHead, Forecaster, LinearSkip, Rows, StreamingError
from mambats.scale import InstanceNorm, RunningNorm
from mambats.series import Window

CHANNELS, HORIZON, LOOKBACK = 3, 5, 24


def streaming_model(*, mixing: bool = False, quantiles: tuple[float, ...] | None = None, future: int = 0) -> Forecaster:
    torch.manual_seed(0)
    inputs = (CHANNELS if mixing else 1) + future
    head = DirectHead(8, HORIZON, outputs=CHANNELS if mixing else 1, quantiles=quantiles, future=future)
    skip, cycle = LinearSkip(7, HORIZON), Cycle(4, CHANNELS)
    torch.nn.init.normal_(skip.weight, std=0.3)
    cycle.profile.normal_()
    model = Forecaster(
        CausalEncoder(inputs, 8, 2),
        head,
        RunningNorm(half_life=10),
        skip,
        mixing=mixing,
        series_channels=0 if mixing else CHANNELS,
        cycle=cycle,
    )
    if model.identity is not None:
        torch.nn.init.normal_(model.identity)
    return model.eval()


def some_rows(length: int, *, irregular: bool = False, absent: bool = False, future: int = 0, batch: int = 2) -> Rows:
    torch.manual_seed(length)
    gaps = None
    clock = torch.arange(length).expand(batch, -1) + 100
    if irregular:
        gaps = torch.randint(1, 4, (batch, length)).float()
        gaps[:, 0] = 1
        clock = 100 + gaps.cumsum(1).long()
    observed = torch.rand(batch, length, CHANNELS) > 0.3 if absent else None
    values = torch.randn(batch, length, CHANNELS)
    known = torch.randn(batch, length + HORIZON, future) if future else None
    return Rows(values if observed is None else values * observed, gaps, observed, None, None, known, None, clock)


def test_a_part_brings_the_covariates_ahead_and_the_facts() -> None:
    rows = some_rows(13, future=2)._replace(static=torch.randn(2, 5))
    row = rows.part(4, 5)
    assert torch.equal(row.values, rows.values[:, 4:5])
    assert torch.equal(row.future, rows.future[:, 4 : 5 + HORIZON])
    assert row.static is rows.static and row.gaps is None


@pytest.mark.parametrize("mixing", [False, True])
@pytest.mark.parametrize("quantiles", [None, (0.1, 0.5, 0.9)])
@pytest.mark.parametrize("irregular", [False, True])
@pytest.mark.parametrize("absent", [False, True])
def test_step_by_step_equals_one_roll(
    mixing: bool, quantiles: tuple[float, ...] | None, irregular: bool, absent: bool
) -> None:
    model = streaming_model(mixing=mixing, quantiles=quantiles, future=2)
    rows = some_rows(13, irregular=irregular, absent=absent, future=2)
    with torch.no_grad():
        whole, _ = model.roll(rows, model.init_state(2, CHANNELS))
        state, steps = model.init_state(2, CHANNELS), []
        for t in range(13):
            out, state = model.step(rows.part(t, t + 1), state)
            steps.append(out)
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=1e-5, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=3), st.booleans())
def test_any_chunking_equals_one_roll(cuts: list[int], irregular: bool) -> None:
    model = streaming_model()
    rows = some_rows(13, irregular=irregular, absent=True)
    edges = [0, *sorted(cuts), 13]
    with torch.no_grad():
        whole, _ = model.roll(rows, model.init_state(2, CHANNELS))
        state, parts = model.init_state(2, CHANNELS), []
        for begin, end in pairwise(edges):
            out, state = model.roll(rows.part(begin, end), state)
            parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-5, atol=1e-5)


def window(values: torch.Tensor) -> Window:
    clock = torch.arange(values.shape[1]).expand(values.shape[0], -1)
    return Window(values, values.shape[1] - HORIZON, clock=clock)


@pytest.mark.parametrize("norm", [InstanceNorm(), InstanceNorm("last"), RunningNorm()])
def test_nothing_after_the_lookback_is_read(norm: InstanceNorm | RunningNorm) -> None:
    torch.manual_seed(0)
    model = Forecaster(CausalEncoder(1, 8, 1), DirectHead(8, HORIZON), norm, LinearSkip(9, HORIZON)).eval()
    values = torch.randn(2, LOOKBACK + HORIZON, CHANNELS)
    changed = values.clone()
    changed[:, LOOKBACK:] += 100
    with torch.no_grad():
        torch.testing.assert_close(model(window(values)), model(window(changed)), rtol=0, atol=0)
        changed[:, LOOKBACK - 1] += 1
        assert not torch.allclose(model(window(values)), model(window(changed)))


def test_channels_share_weights_and_do_not_meet_unless_mixing() -> None:
    model = Forecaster(CausalEncoder(1, 8, 1), DirectHead(8, HORIZON), InstanceNorm()).eval()
    values = torch.randn(2, LOOKBACK + HORIZON, CHANNELS)
    changed = values.clone()
    changed[..., 0] = 0
    with torch.no_grad():
        torch.testing.assert_close(model(window(values))[..., 1:], model(window(changed))[..., 1:])


def test_absent_values_do_not_matter() -> None:
    model = streaming_model()
    rows = some_rows(13, absent=True)
    noise = torch.where(rows.observed, rows.values, 1e3 * torch.randn_like(rows.values))
    with torch.no_grad():
        clean, _ = model.roll(rows, model.init_state(2, CHANNELS))
        dirty, _ = model.roll(rows._replace(values=noise), model.init_state(2, CHANNELS))
    torch.testing.assert_close(clean, dirty)


def test_windowed_model_refuses_to_stream() -> None:
    model = Forecaster(CausalEncoder(1, 8, 1), DirectHead(8, HORIZON), InstanceNorm())
    with pytest.raises(StreamingError, match="RunningNorm"):
        model.init_state(1, 3)


def test_wrong_number_of_covariates_is_named() -> None:
    model = Forecaster(CausalEncoder(2, 8, 1), DirectHead(8, HORIZON), InstanceNorm())
    with pytest.raises(ValueError, match=r"reads 2 channels, the data gives 1"):
        model(window(torch.randn(1, LOOKBACK + HORIZON, 1)))


def test_a_missing_last_row_is_a_query() -> None:
    model = Forecaster(CausalEncoder(1, 8, 1), DirectHead(8, HORIZON), InstanceNorm()).eval()
    whole = window(torch.randn(1, LOOKBACK + HORIZON, 1))
    mask = torch.ones(1, LOOKBACK + HORIZON, dtype=torch.bool)
    mask[:, LOOKBACK - 3 : LOOKBACK] = False
    gone = replace(whole, mask=mask, observed=mask[..., None])
    out = model(gone)
    assert out.isfinite().all()
    assert not torch.allclose(out, model(whole))


def test_quantiles_do_not_cross() -> None:
    torch.manual_seed(1)
    head = DirectHead(8, HORIZON, outputs=2, quantiles=(0.05, 0.1, 0.5, 0.9, 0.95))
    out = head(10 * torch.randn(64, 8))
    assert out.shape == (64, HORIZON, 2, 5)
    assert (out.diff(dim=-1) >= 0).all()


def test_cycle_is_the_mean_course() -> None:
    cycle = Cycle(3, 1)
    values = torch.tensor([[0.0], [1.0], [2.0], [0.0], [1.0], [5.0]])
    cycle.fit(values, torch.arange(6) + 1, torch.tensor([[True]] * 5 + [[False]]))
    # clock 1..6: phases 1, 2, 0, 1, 2 (the last row is absent); the mean of the observed is 0.8
    torch.testing.assert_close(cycle(torch.tensor([1, 2, 3])), torch.tensor([[-0.8], [0.2], [1.2]]))


def test_mirroring_is_undone_and_only_in_training() -> None:
    """A model without biases is odd, so that mirroring its input and its forecast changes nothing."""
    torch.manual_seed(0)
    levels = (0.1, 0.5, 0.9)
    model = Forecaster(
        CausalEncoder(1, 8, 1, no_mixer=True, final_norm=False),
        DirectHead(8, HORIZON),
        InstanceNorm(),
        LinearSkip(9, HORIZON),
        cycle=Cycle(4, CHANNELS),
        mirror=0.5,
    )
    torch.nn.init.normal_(model.skip.weight)
    model.cycle.profile.normal_()
    for name, parameter in model.named_parameters():
        if "bias" in name:
            torch.nn.init.zeros_(parameter)
    batch = window(torch.randn(4, LOOKBACK + HORIZON, CHANNELS))
    with torch.no_grad():
        torch.testing.assert_close(model.train()(batch), model.eval()(batch), rtol=1e-5, atol=1e-5)
        torch.nn.init.normal_(model.head.project.bias)
        assert not torch.allclose(model.train()(batch), model.eval()(batch))
    quantile = Forecaster(CausalEncoder(1, 8, 1), DirectHead(8, 5, quantiles=levels), InstanceNorm(), mirror=1.0)
    assert (quantile.train()(batch).diff(dim=-1) >= 0).all()
    with pytest.raises(ValueError, match="symmetric"):
        Forecaster(CausalEncoder(1, 8, 1), DirectHead(8, 5, quantiles=(0.1, 0.5)), InstanceNorm(), mirror=0.5)


@pytest.mark.parametrize(
    ("period_ns", "rows"), [(3600 * 10**9, 24), (900 * 10**9, 96), (7000 * 10**9, 1), (86400 * 10**9, 1)]
)
def test_cycle_takes_a_day_of_the_data(period_ns: int, rows: int) -> None:
    cycle = Cycle()
    cycle.adapt(CHANNELS, period_ns)
    assert cycle.profile.shape == (rows, CHANNELS)
    cycle.fit(torch.randn(500, CHANNELS), torch.arange(500))
    if rows == 1:  # no cycle: nothing is taken out
        assert cycle(torch.arange(9)).abs().max() < 1e-6
    with pytest.raises(ValueError, match="set cycle.channels"):
        Cycle(24, 2).adapt(CHANNELS, period_ns)


def test_an_encoder_on_a_grid_takes_missing_rows_as_unobserved() -> None:
    torch.manual_seed(0)
    model = Forecaster(PatchEncoder(CausalEncoder(4, 8, 1), 4), DirectHead(8, HORIZON), InstanceNorm()).eval()
    values = torch.randn(2, LOOKBACK + HORIZON, CHANNELS)
    mask = torch.rand(2, LOOKBACK + HORIZON) > 0.3
    observed = mask[..., None].expand_as(values)
    with torch.no_grad():
        marked = model(Window(values * observed, LOOKBACK, observed, mask=mask))
        plain = model(Window(values * observed, LOOKBACK, observed))
    torch.testing.assert_close(marked, plain)
