import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.encoders import EventFusion, StreamFusion
from mambats.estimators.extended import ExtendedKalmanFilter
from mambats.estimators.late import LateBuffer
from mambats.estimators.particle import ParticleFilter
from mambats.estimators.unscented import UnscentedKalmanFilter
from mambats.series import SensorRows
from mambats.testing import agree_states, flatten_state
from tests.mambats.estimators.inertial_case import navigator
from tests.mambats.estimators.turning import straight, turning

SECOND = 10**9
KINDS = {
    "extended": lambda: straight(ExtendedKalmanFilter),
    "unscented": lambda: straight(UnscentedKalmanFilter),
    "particle": lambda: straight(ParticleFilter, particles=20),
}


def rows(seed, count, batch=2):
    """(stream, stamp, value, mask) in the order of time, two streams, some at the same moment."""
    g = torch.Generator().manual_seed(seed)
    made = []
    for k in range(count):
        for name, size in (("place", 2), ("side", 1)):
            if name == "place" or k % 2:
                value = torch.randn(batch, size, generator=g, dtype=torch.float64)
                made.append((name, k * SECOND // 10, value, torch.rand(batch, generator=g) < 0.8))
    return made


def fed(model, measured, horizon=SECOND, **changes):
    buffer = LateBuffer(model, horizon, batch=2, **changes)
    return buffer, [buffer.push(name, stamp, value, mask=mask) for name, stamp, value, mask in measured]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6)
@given(seed=st.integers(0, 1000), data=st.data())
def test_any_order_within_the_horizon_gives_the_sorted_result(kind, seed, data):
    model, measured = KINDS[kind](), rows(seed, 9)
    with torch.no_grad():
        expected, _ = fed(model, measured)
        # Each is delayed by up to 8 tenths of a second.
        delays = data.draw(st.lists(st.integers(0, 8), min_size=len(measured), max_size=len(measured)))
        order = sorted(range(len(measured)), key=lambda i: measured[i][1] + delays[i] * SECOND // 10)
        buffer, told = fed(model, [measured[i] for i in order])
    agree_states("shuffled == sorted", buffer.state, expected.state)
    assert buffer.stamp_ns == expected.stamp_ns and len(buffer) == len(expected)
    assert sum(one.replayed for one in told) == sum(
        sum(measured[j][1] > measured[i][1] or (measured[j][1] == measured[i][1] and j > i) for j in order[:k])
        for k, i in enumerate(order)
    )
    assert all(one.verdict != "too late" for one in told)


def test_the_sorted_result_is_predict_and_update():
    model, measured = KINDS["extended"](), rows(3, 6)
    buffer, _ = fed(model, measured, start_ns=-SECOND)
    state, before = model.init_state(2), -SECOND
    for name, stamp, value, mask in measured:
        state = model.predict(state, torch.full((2,), (stamp - before) / 1e9, dtype=torch.float64))
        (state, _), before = model.update(state, name, value, mask=mask), stamp
    agree_states("buffer == by hand", buffer.state, state)


def test_what_is_older_than_the_horizon_is_reported_and_left_out():
    model, measured = KINDS["extended"](), rows(1, 9)
    stale = measured.pop(2)
    buffer, _ = fed(model, measured, horizon=SECOND // 2)
    kept = {name: leaf.clone() for name, leaf in flatten_state(buffer.state).items()}
    told = buffer.push(stale[0], stale[1], stale[2])
    assert told.verdict == "too late" and told.told is None and told.age_ns == measured[-1][1] - stale[1]
    assert all(torch.equal(leaf, kept[name]) for name, leaf in flatten_state(buffer.state).items())
    assert buffer.counts[stale[0]]["too late"] == 1 and buffer.counts["side"]["in order"] == 3
    assert len(buffer) < len(measured)


def test_the_horizon_itself_is_in_time_and_no_horizon_takes_equal_stamps_only():
    model, (first, *_), value = KINDS["extended"](), rows(1, 1), torch.zeros(2, 2, dtype=torch.float64)
    buffer, _ = fed(model, [first], horizon=5)
    buffer.push("place", 100, value)
    assert [buffer.push("place", stamp, value).verdict for stamp in (95, 94, 100, 101)] == [
        "late",
        "too late",
        "in order",
        "in order",
    ]
    strict, _ = fed(model, [], horizon=0)
    assert [strict.push("place", stamp, value).verdict for stamp in (7, 7, 6, 8)] == [
        "in order",
        "in order",
        "too late",
        "in order",
    ]


def test_before_the_start_is_too_late():
    buffer, _ = fed(KINDS["extended"](), [], start_ns=50)
    told = buffer.push("place", 49, torch.zeros(2, 2, dtype=torch.float64))
    assert told.verdict == "too late" and buffer.stamp_ns == 50 and len(buffer) == 0


def test_late_rows_tell_what_they_would_have_told_in_time():
    model, measured = KINDS["extended"](), rows(5, 4)
    _, expected = fed(model, measured)
    _, told = fed(model, [measured[i] for i in (0, 2, 1, 3, 4, 5)])
    assert told[2].verdict == "late" and told[2].replayed == 1
    assert torch.equal(told[2].told.residual, expected[1].told.residual)


def test_covariances_of_single_measurements_and_holes_are_replayed():
    model, measured = KINDS["extended"](), rows(5, 4)
    noise = torch.diag_embed(torch.full((2, 2), 9.0, dtype=torch.float64))
    observed = torch.tensor([[True, False], [True, True]])
    made = []
    for order in ((0, 1, 2), (0, 2, 1)):
        buffer, _ = fed(model, [])
        for i in order:
            name, stamp, value, mask = measured[[0, 1, 3][i]]
            extra = {"noise": noise, "observed": observed} if i == 1 else {}
            buffer.push(name, stamp, value, mask=mask, **extra)
        made.append(buffer.state)
    agree_states("late == in order", made[1], made[0])


def test_a_refused_measurement_changes_nothing():
    model, measured = KINDS["extended"](), rows(5, 4)
    buffer, _ = fed(model, measured)
    before, size = buffer.state, len(buffer)
    bad = torch.full((2, 2, 2), math.nan, dtype=torch.float64)
    with pytest.raises(ValueError, match="not finite"):
        buffer.push("place", measured[1][1], measured[0][2], noise=bad)
    with pytest.raises(ValueError, match="'sonar' is not known"):
        buffer.push("sonar", 0, measured[0][2])
    with pytest.raises(ValueError, match=r"needed \(B, m\)"):
        buffer.push("place", measured[1][1], measured[0][2][:, :1])
    assert buffer.state is before and len(buffer) == size


def test_the_state_at_a_moment_is_what_was_known_then():
    model, measured = KINDS["extended"](), rows(5, 6)
    buffer, _ = fed(model, measured)
    short, _ = fed(model, measured[:4])
    moment = measured[4][1] - 1
    expected = model.predict(short.state, torch.full((2,), (moment - measured[3][1]) / 1e9, dtype=torch.float64))
    agree_states("at a moment", buffer.state_at(moment), expected)
    ahead = buffer.state_at(measured[-1][1] + SECOND)
    assert (model.estimate(ahead).deviation > model.estimate(buffer.state).deviation).all()
    tight, _ = fed(model, measured, horizon=1)
    with pytest.raises(ValueError, match="lengthen the horizon"):
        tight.state_at(0)
    assert torch.equal(LateBuffer(model, 1, 2).state_at(5).mean, model.init_state(2).mean)


@pytest.mark.parametrize("kind", [EventFusion, StreamFusion])
def test_a_fusion_encoder_too_takes_late_rows_as_if_they_were_not(kind):
    torch.manual_seed(0)
    encoder = kind({"place": 2, "side": 1}, width=8, layers=2, period_ns=SECOND // 10).double().eval()
    measured = rows(7, 8)
    with torch.no_grad():
        expected, sorted_ = fed(encoder, measured, start_ns=0)
        order = [1, 0, 3, 4, 2, 7, 6, 5, 8, 9, 11, 10]
        buffer, told = fed(encoder, [measured[i] for i in order], start_ns=0)
        agree_states("shuffled == sorted", buffer.state, expected.state)
        given = {}
        for name in encoder.streams:
            own = [one for one in measured if one[0] == name]
            values, mask = torch.stack([one[2] for one in own], 1), torch.stack([one[3] for one in own], 1)
            stamps = torch.tensor([one[1] for one in own]).expand(2, -1)
            given[name] = SensorRows(values, mask, mask.double(), stamps)
        tokens, _ = encoder(given, measured[-1][1])
    for name in encoder.streams:
        alone = torch.stack([one.told for one, row in zip(sorted_, measured, strict=True) if row[0] == name], 1)
        assert torch.allclose(alone, tokens[name], rtol=0, atol=1e-10)
    assert told[1].replayed == 1 and told[1].told.shape == (2, 8)
    with pytest.raises(ValueError, match="takes none"):
        buffer.push("place", 0, measured[0][2], noise=torch.eye(2).expand(2, 2, 2))


def test_it_works_on_turns_in_float32():
    model = turning(ExtendedKalmanFilter).float()
    buffer = LateBuffer(model, SECOND)
    for stamp in (3, 1, 2):
        buffer.push("radar", stamp * SECOND // 10, torch.tensor([[0.5, 220.0]]))
    assert buffer.state.mean.dtype == torch.float32 and torch.isfinite(buffer.state.mean).all()


def test_a_negative_horizon_is_refused():
    with pytest.raises(ValueError, match="horizon_ns is -1"):
        LateBuffer(KINDS["extended"](), -1)


def test_an_inertial_filter_takes_a_late_fix():
    """Readings of the inertial unit are replayed with it."""
    model, g = navigator("gnss"), torch.Generator().manual_seed(0)
    measured = []
    for k in range(12):
        reading = torch.randn(2, 6, generator=g, dtype=torch.float64) * 0.1 + torch.tensor([0, 0, 0, 0, 0, 9.8])
        measured.append(("imu", k * SECOND // 100, reading, torch.ones(2, dtype=torch.bool)))
    fix = (
        "gnss",
        3 * SECOND // 100 + 1,
        torch.randn(2, 3, generator=g, dtype=torch.float64),
        torch.tensor([True, False]),
    )
    with torch.no_grad():
        expected, _ = fed(model, [*measured[:4], fix, *measured[4:]])
        buffer, told = fed(model, [*measured, fix])
    agree_states("late == in order", buffer.state, expected.state)
    assert told[-1].replayed == 8 and told[-1].told.used.tolist() == [True, False]
