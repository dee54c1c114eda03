"""Engines give the model's numbers: by torch those of one parallel pass, natively those of torch; rows stay apart."""

import numpy as np
import pytest
import torch

from mambats.bundle.check import record, replay
from mambats.bundle.flat import FlatForecaster
from mambats.bundle.native import layers_of
from mambats.bundle.native_file import native_file
from mambats.bundle.rebuild import arrays_of, torch_engine
from mambats.data.calendar import calendar_features
from mambats.forecast.model import Rows
from mambats.streaming import Policy, StreamRunner
from mambats.streaming.engine import STAMP, StepEvent
from mambats.streaming.engines.library import missing, open_library
from mambats.streaming.engines.native import NativeEngine

KINDS = ("plain", "quantiles", "mixing", "covariates")


def flat(tiny, kind):
    arguments, data = tiny.KINDS[kind]
    return FlatForecaster.of(tiny.make_task(**arguments), {"WindowDataModule": data} if data else {})


def native(model):
    arrays = arrays_of(model)
    weights = {name[7:]: v for name, v in arrays.items() if name.startswith("weight.")}
    initial = {name: arrays[f"initial.{name}"] for name in model.names}
    body = native_file(model.facts.plain(), layers_of(model), weights, initial)
    return NativeEngine(body, model.facts, "none", initial)


def parallel(model, given):
    """Forecast from every row in one pass over all series, in the data's units, without covariates."""
    facts, count = model.facts, len(model.facts.channels)
    values, observed = (
        torch.from_numpy(given["values"]).movedim(0, 1),
        torch.from_numpy(given["observed"]).movedim(0, 1),
    )
    gaps = np.diff(given["stamps"], axis=0, prepend=given["stamps"][:1]) / facts.period_ns
    gaps[0] = 1
    observed = observed[..., :count]
    rows = Rows(
        torch.where(observed, model.scaler.transform(values[..., :count]), 0.0),
        torch.from_numpy(gaps.T).float(),
        observed,
        clock=torch.from_numpy(given["stamps"].T // facts.period_ns),
    )
    forecast, _ = model.model.roll(rows, model.model.init_state(values.shape[0], count))
    if facts.quantiles is None:
        return model.scaler.inverse(forecast).movedim(1, 0).numpy()
    return torch.stack([model.scaler.inverse(level) for level in forecast.unbind(-1)], -1).movedim(1, 0).numpy()


@pytest.mark.parametrize("kind", ["plain", "quantiles", "mixing"])
def test_torch_steps_equal_one_parallel_pass(tiny, kind):
    model = flat(tiny, kind)
    given = record(torch_engine(model), moments=40)
    given["mask"][:] = True
    # Whole periods: the skip rounds its places, in one pass since the start and in steps since the last row.
    given["stamps"] = given["stamps"] // tiny.HOUR * tiny.HOUR
    with torch.no_grad():
        wanted = parallel(model, given)
    found, _, _ = replay(torch_engine(model), given)
    assert np.abs(found - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())
    assert np.ptp(wanted) > 1  # a constant would be equal too


@pytest.mark.parametrize("kind", KINDS)
def test_native_steps_equal_those_of_torch(tiny, kind):
    if missing():
        pytest.skip(missing())
    model = flat(tiny, kind)
    given = record(torch_engine(model), seed=1, moments=40)
    found, _, state = replay(native(model), given)
    assert np.abs(found - given["forecast"]).max() < 1e-5 * np.abs(given["forecast"]).max()
    for name, array in state.items():
        assert array.dtype == given[f"last.{name}"].dtype
        assert np.allclose(array, given[f"last.{name}"], rtol=1e-5, atol=1e-5), name


@pytest.mark.parametrize("kind", ["mixing", "covariates"])
def test_native_steps_of_many_rows_in_every_instruction_set(tiny, kind):
    """More rows than a block of the library holds, some of them silent."""
    if missing():
        pytest.skip(missing())
    library, model = open_library(), flat(tiny, kind)
    given = record(torch_engine(model), seed=5, moments=6, rows=37)
    try:
        for level in (0, 1, 2):
            if library.mambats_use_instructions(level) == 0:
                found, _, state = replay(native(model), given)
                assert np.abs(found - given["forecast"]).max() < 1e-5 * np.abs(given["forecast"]).max(), level
                assert all(np.allclose(a, given[f"last.{name}"], rtol=1e-5, atol=1e-5) for name, a in state.items())
    finally:
        library.mambats_use_instructions(-1)


def test_a_state_goes_on_from_wherever_it_was_kept(tiny):
    """An older state, copies of parts, or parts of two states: the library reads what it is given."""
    if missing():
        pytest.skip(missing())
    model = flat(tiny, "quantiles")
    engine, given = native(model), record(torch_engine(model), seed=6, moments=8)
    _, half, last = replay(engine, given)
    copied = {name: array.copy() for name, array in half.items()}
    mixed = {name: half[name] if k % 2 else copied[name] for k, name in enumerate(half)}
    event = StepEvent(given["values"][4], given["observed"][4], given["mask"][4])
    passed = given["stamps"][4] - given["stamps"][3]
    before = {name: array.copy() for name, array in half.items()}
    answers = [engine.step({"series": event}, passed, state)[0]["forecast"] for state in (half, copied, mixed, half)]
    assert all(np.array_equal(answer, answers[0]) for answer in answers) and np.ptp(answers[0]) > 0
    assert all(np.array_equal(half[name], before[name]) for name in half) and set(last) == set(half)


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_row_waits_and_rows_do_not_know_of_each_other(tiny, kind):
    engine = torch_engine(flat(tiny, kind))
    given = record(engine, seed=2, moments=30)
    assert not given["mask"].all()
    for row in range(3):
        kept = given["mask"][:, row]
        alone = {name: given[name][kept][:, row : row + 1] for name in ("stamps", "values", "observed", "mask")}
        found, _, _ = replay(engine, alone)
        wanted = given["forecast"][kept][:, row]
        assert np.abs(found[:, 0] - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_a_masked_row_keeps_its_state_to_the_bit_and_none_is_changed_in_place(tiny):
    engine = torch_engine(flat(tiny, "quantiles"))
    state = engine.init_state(2)
    values, all_of_it = np.ones((2, 2), np.float32), np.ones((2, 2), np.bool_)
    _, state = engine.step({"series": StepEvent(values, all_of_it, np.ones(2, np.bool_))}, np.zeros(2, np.int64), state)
    before = {name: array.copy() for name, array in state.items()}
    event = StepEvent(values, all_of_it, np.array([True, False]))
    _, after = engine.step({"series": event}, np.zeros(2, np.int64), state)
    assert all(np.array_equal(state[name], before[name]) for name in state)
    assert all(np.array_equal(after[name][1], before[name][1]) for name in state)
    assert any(not np.array_equal(after[name][0], before[name][0]) for name in state)


def test_the_time_of_day_is_what_the_stream_says(tiny):
    engine = torch_engine(flat(tiny, "covariates"))
    hours = 438_000 + np.arange(5)
    answers = {}
    for shift in (0, 7):
        runner = StreamRunner(engine, Policy())
        for hour in hours + shift:
            answers[shift] = runner.push("series", int(hour) * tiny.HOUR, [1.0, 10.0, 5.0])[0].outputs["forecast"]
    assert np.abs(answers[0] - answers[7]).max() > 1e-3
    # And the features are those of the moment: by hand for the last row.
    features = calendar_features(np.array([int(hours[-1]) * tiny.HOUR]), ["hour_of_day"])
    assert features.shape == (2, 1)


def test_many_rows_at_once_are_those_one_by_one(tiny):
    engine = torch_engine(flat(tiny, "quantiles"))
    given = record(engine, moments=24)
    parts = [given[name][:12] for name in ("values", "observed", "stamps")]
    outputs, state = engine.read(*parts, engine.init_state(3))
    assert np.allclose(outputs["forecast"], given["forecast"][11], atol=1e-5)
    assert all(np.allclose(state[name], given[f"half.{name}"], atol=1e-5) for name in state)
    assert np.array_equal(state[STAMP], given["stamps"][11])


def test_native_refuses_what_it_would_read_past_the_end_of(tiny):
    if missing():
        pytest.skip(missing())
    model = flat(tiny, "plain")
    arrays = arrays_of(model)
    weights = {name[7:]: v for name, v in arrays.items() if name.startswith("weight.")}
    initial = {name: arrays[f"initial.{name}"] for name in model.names}
    facts, layers = model.facts.plain(), layers_of(model)
    name = "model.encoder.blocks.1.mixer.out_proj.weight"
    with pytest.raises(ValueError, match=r"blocks\.1\.mixer\.out_proj\.weight"):
        native_file(facts, layers, {**weights, name: weights[name][:-1]}, initial)
    with pytest.raises(ValueError, match="take the engine onnx"):
        native_file(facts, None, weights, initial)
    engine = native(model)
    state = engine.init_state(1)
    event = StepEvent(np.ones((1, 2), np.float32), np.ones((1, 2), np.bool_), np.ones(1, np.bool_))
    ssm = state["encoder.layers.0.ssm"]
    with pytest.raises(ValueError, match=r"encoder\.layers\.0\.ssm"):
        engine.step({"series": event}, np.zeros(1, np.int64), {**state, "encoder.layers.0.ssm": ssm[..., :-1]})
    with pytest.raises(ValueError, match="one value a column"):
        engine.step({"series": event._replace(values=event.values[:, :1])}, np.zeros(1, np.int64), state)
