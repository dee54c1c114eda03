"""Scalers keep their promises: training rows only, exact inverses, streams equal to loops."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from mambats.scale import InstanceNorm, RunningNorm, Scaler


def test_scaler_uses_observed_rows_and_the_population_deviation() -> None:
    values = np.array([[1.0, 2.0, 3.0, 99.0], [5.0, 5.0, 5.0, 5.0]], dtype=np.float32)
    observed = np.array([[True, True, True, False], [True] * 4])
    scaler = Scaler.fit(values, observed, ("a", "b"))
    assert scaler.mean.tolist() == [2.0, 5.0]
    np.testing.assert_allclose(scaler.scale, [np.std([1, 2, 3]), 1.0], rtol=1e-6)
    x = torch.randn(3, 4, 2)
    torch.testing.assert_close(scaler.inverse(scaler.transform(x)), x)


def test_scaler_names_a_channel_without_values() -> None:
    with pytest.raises(ValueError, match="channel 'b' has no observed value in the 3 training rows"):
        Scaler.fit(np.zeros((2, 3), np.float32), np.array([[True] * 3, [False] * 3]), ("a", "b"))


@pytest.mark.parametrize("center", ["mean", "last"])
def test_instance_norm_ignores_absent_values(center: str) -> None:
    values = torch.randn(2, 9, 3)
    observed = torch.rand(2, 9, 3) > 0.4
    observed[:, 0] = True
    location, scale = InstanceNorm(center)(torch.where(observed, values, 1e6), observed)
    for b in range(2):
        for c in range(3):
            kept = values[b, observed[b, :, c], c]
            middle = kept.mean() if center == "mean" else kept[-1]
            torch.testing.assert_close(location[b, 0, c], middle)
            torch.testing.assert_close(scale[b, 0, c], (kept.var(unbiased=False) + 1e-5).sqrt())


def test_instance_norm_refuses_an_unknown_center() -> None:
    with pytest.raises(ValueError, match="'median'"):
        InstanceNorm("median")


def loop(
    norm: RunningNorm, x: torch.Tensor, gaps: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    count, total, square = (torch.full(x[:, 0].shape, v, dtype=torch.float64) for v in (norm.weight, 0.0, norm.weight))
    means, scales = [], []
    for x_t, gap, o in zip(x.double().unbind(1), gaps.double().unbind(1), seen.double().unbind(1), strict=True):
        decay = (0.5 ** (gap / norm.half_life))[:, None]
        count, total, square = decay * count + o, decay * total + o * x_t, decay * square + o * x_t**2
        mean = total / count
        means.append(mean)
        scales.append((square / count - mean**2 + norm.eps).sqrt())
    return torch.stack(means, 1), torch.stack(scales, 1)


@pytest.mark.parametrize("edges", [(0, 600), (0, 0, 1, 257, 600)])
def test_running_norm_equals_the_recursion_for_any_chunking(edges: tuple[int, ...]) -> None:
    norm = RunningNorm(half_life=30, weight=10)
    x = (5 + torch.randn(2, 600, 3)).double()
    gaps, seen = torch.randint(0, 4, (2, 600)).double(), torch.rand(2, 600, 3) > 0.3
    want = loop(norm, x, gaps, seen)
    state, got = norm.init_state(2, 3), []
    for begin, end in pairwise(edges):
        location, scale, state = norm(x[:, begin:end], gaps[:, begin:end], seen[:, begin:end], state)
        got.append((location, scale))
    for mine, other in zip((torch.cat(part, 1) for part in zip(*got, strict=True)), want, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


def test_running_norm_starts_from_the_training_statistics_and_forgets_them() -> None:
    norm = RunningNorm(half_life=5, weight=100)
    location, scale, _ = norm(torch.full((1, 200, 1), 7.0), None, None, norm.init_state(1, 1))
    assert location[0, 0, 0] < 1
    assert abs(location[0, -1, 0] - 7) < 1e-3
    assert abs(scale[0, -1, 0] - norm.eps**0.5) < 1e-3


def test_running_norm_is_causal() -> None:
    norm = RunningNorm()
    x = torch.randn(1, 50, 2)
    changed = x.clone()
    changed[:, 30:] = 9
    before, after = (norm(v, None, None, norm.init_state(1, 2)) for v in (x, changed))
    torch.testing.assert_close(before[0][:, :30], after[0][:, :30], rtol=0, atol=0)
    torch.testing.assert_close(before[1][:, :30], after[1][:, :30], rtol=0, atol=0)
