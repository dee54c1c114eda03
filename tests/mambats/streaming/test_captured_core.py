"""A forecaster's step in buffers of its own, recorded on a GPU: the numbers of torch's operations one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mambats.bundle.flat import FlatForecaster
from mambats.data.calendar import calendar_names
from mambats.encoders.causal import CausalEncoder
from mambats.forecast.cycle import Cycle
from mambats.forecast.head import DirectHead
from mambats.forecast.model import Forecaster
from mambats.forecast.skip import LinearSkip
from mambats.scale import RunningNorm, Scaler
from mambats.streaming import Policy, StreamRunner
from mambats.streaming.engines.captured import Buffers, CapturedForecaster
from mambats.streaming.engines.captured_core import CapturedCore
from mambats.streaming.engines.facts import ForecastFacts
from mambats.streaming.engines.forecast import ForecastEngine
from mambats.streaming.engines.torch_core import TorchCore

SECOND = 10**9
CHANNELS = ("a", "b")


def flat(kind="plain"):
    """A small forecaster; `full` has a skip, a cycle, quantiles and a calendar besides."""
    torch.manual_seed(0)
    full = kind == "full"
    levels, calendar = ((0.1, 0.5, 0.9), ("hour_of_day", "day_of_week_number")) if full else (None, ())
    cycle = Cycle(6, 2) if full else None
    model = Forecaster(
        CausalEncoder(1 + len(calendar_names(calendar)), 16, 2),
        DirectHead(16, 5, quantiles=levels, future=len(calendar_names(calendar))) if full else DirectHead(16, 5),
        RunningNorm(),
        LinearSkip(4, 5) if full else None,
        cycle=cycle,
    )
    if cycle is not None:
        cycle.adapt(2, SECOND)
        with torch.no_grad():
            cycle.profile.copy_(torch.randn(cycle.profile.shape))
    scaler = Scaler(CHANNELS)
    scaler.mean.copy_(torch.tensor([3.0, -1.0]))
    scaler.scale.copy_(torch.tensor([2.0, 0.5]))
    facts = ForecastFacts(CHANNELS, SECOND, 5, levels, calendar=calendar, clock=full)
    return FlatForecaster(model, scaler, None, facts).eval().requires_grad_(False)


def engine(core):
    return ForecastEngine(core, core.model.facts, "same")


def arrivals(rows, seed=0, count=30):
    """Packets of robots with holes, missing values and some out of order."""
    random = np.random.default_rng(seed)
    found = []
    for at in range(count):
        for row in range(rows):
            values = random.normal(3, 2, 2).astype(np.float32)
            values[random.random(2) < 0.15] = np.nan
            if random.random() > 0.1 and np.isfinite(values).any():
                late = int(random.integers(0, 3)) * SECOND if random.random() < 0.2 else 0
                found.append((at * SECOND + late, at * SECOND, row, values))
    return [part[1:] for part in sorted(found, key=lambda part: part[:3])]


def answers(core, rows):
    runner = StreamRunner(engine(core), Policy(lateness_ns=5 * SECOND, provisional=False), rows)
    found = [a for stamp, row, values in arrivals(rows) for a in runner.push("series", stamp, values, row)]
    return [(a.row, a.stamp_ns, a.outputs["forecast"]) for a in found + runner.flush()]


def agree(one, other, bound):
    assert [part[:2] for part in one] == [part[:2] for part in other]
    largest = max(np.abs(part[2]).max() for part in other)
    assert max(np.abs(a[2] - b[2]).max() for a, b in zip(one, other, strict=True)) <= bound * largest


@pytest.mark.parametrize("kind", ["plain", "full"])
@pytest.mark.parametrize("rows", [1, 3])
def test_its_buffers_give_what_torch_gives(kind, rows):
    agree(answers(CapturedCore(flat(kind), "cpu"), rows), answers(TorchCore(flat(kind)), rows), 1e-6)


def test_a_state_that_was_handed_out_stays():
    core = CapturedCore(flat(), "cpu")
    feed = {"x": np.ones((1, 2), np.float32), "observed": np.ones((1, 2), np.bool_), "gap": np.ones(1, np.float32)}
    _, first = core.step(feed, core.init_state(1))
    kept = {name: array.copy() for name, array in first.items()}
    one, second = core.step(feed, first)
    core.step(feed, second)
    assert all(np.array_equal(first[name], array) for name, array in kept.items())
    again, _ = core.step(feed, first)  # back to an earlier state
    assert np.array_equal(one, again)
    many = {name: np.stack([array] * 4) for name, array in feed.items()}
    read, state = core.read(many, core.init_state(1))
    by_steps, after = TorchCore(flat()).read(many, core.init_state(1))
    np.testing.assert_allclose(read, by_steps, atol=1e-6)
    assert all(np.allclose(state[name], array, atol=1e-6) for name, array in after.items())


def test_buffers_hold_names_shapes_and_kinds():
    given = {
        "small": torch.ones(2, 1),
        "flags": torch.tensor([[True], [False]]),
        "large": torch.arange(10.0).view(2, 5),
    }
    held = Buffers(given)
    assert list(held.leaves) == list(given) and len(held.flat) == 2
    held.write({name: leaf.clone() for name, leaf in given.items()})
    assert all(torch.equal(leaf, given[name]) for name, leaf in held.to_host().items())
    kept = held.to_host()
    held.leaves["large"].zero_()
    assert torch.equal(kept["large"], given["large"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_said():
    with pytest.raises(ValueError, match="sees no CUDA device here: take cpu"):
        CapturedCore(flat(), "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["plain", "full"])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_captured_equals_eager_on_a_gpu_and_torch_on_a_cpu(kind, rows):
    captured = answers(CapturedCore(flat(kind), "cuda"), rows)
    agree(captured, answers(TorchCore(flat(kind), "cuda"), rows), 1e-6)
    agree(captured, answers(TorchCore(flat(kind)), rows), 1e-5)


@pytest.mark.gpu
def test_a_graph_changes_no_state_when_it_is_recorded_and_goes_back():
    core, feed = CapturedCore(flat(), "cuda"), {"x": np.ones((2, 2), np.float32)}
    feed |= {"observed": np.ones((2, 2), np.bool_), "gap": np.ones(2, np.float32)}
    start = core.init_state(2)
    one, state = core.step(feed, start)
    core.step(feed, state)
    again, _ = core.step(feed, start)
    assert np.array_equal(one, again)


@pytest.mark.gpu
def test_float32_stays_near_float64_over_10_000_steps_of_a_graph():
    made = [CapturedForecaster(flat().to(device="cuda", dtype=kind), 1) for kind in (torch.float32, torch.float64)]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(10_000, 1, 2, generator=generator).cuda()
    worst = largest = 0.0
    for at, row in enumerate(rows):
        for captured in made:
            captured.inputs["x"].copy_(row)
            captured.replay()
        if at % 100 == 0:
            worst = max(worst, float((made[0].forecast.double() - made[1].forecast).abs().max()))
            largest = max(largest, float(made[1].forecast.abs().max()))
    assert worst <= 1e-4 * largest
