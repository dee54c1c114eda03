"""Outliers: planted ones are found, clean values are kept, streams equal batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats.preprocess.outliers import (
    ChiSquareGate,
    DegenerateError,
    Hampel,
    RangeGate,
    RansacPlane,
    RateGate,
    Stuck,
    flag,
)
from mambats.preprocess.outliers.plane import signed_distance

GATES = {
    "hampel": Hampel(7),
    "hampel_centred": Hampel(9, 2.0, centred=True, replace="absent", floor=0.1),
    "range": RangeGate(-2.0, [2.0, 1.0, 3.0]),
    "clamp": RangeGate(-2.0, 2.0, "clamp"),
    "rate": RateGate([20.0, 50.0, 1.0], 10.0),
    "stuck": Stuck(3, 0.05),
}


def rows(seed, shape=(), absent=0.0):
    """Walks with jumps and standstills."""
    rng = np.random.default_rng(seed)
    moves = rng.standard_normal((*shape, 60, 3)) * (rng.random((*shape, 60, 3)) < 0.6)
    values = moves.cumsum(-2) + 30 * (rng.random(moves.shape) < 0.05)
    values[rng.random(values.shape) < absent] = np.nan
    return values


@pytest.mark.parametrize("name", GATES)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 60), max_size=8),
    st.sampled_from([0.0, 0.1, 0.9]),
    st.sampled_from([(), (2,)]),
)
def test_any_chunks_equal_the_whole(name, seed, cuts, absent, shape):
    gate, values, cuts = GATES[name], rows(seed, shape, absent), sorted(cuts)
    state, made = gate.start(3, shape), []
    for begin, end in zip([0, *cuts], [*cuts, 60], strict=True):
        chunk, state = gate.transform(values[..., begin:end, :], state)
        made.append(chunk)
    made += [gate.flush(state)] if gate.delay else []
    np.testing.assert_allclose(np.concatenate(made, -2)[..., gate.delay :, :], gate(values), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", GATES)
def test_row_by_row_equals_the_whole(name):
    gate, values = GATES[name], rows(11, absent=0.2)
    state, made = gate.start(3), []
    for row in values:
        out, state = gate.step(row, state)
        made.append(out[None])
    made += [gate.flush(state)] if gate.delay else []
    np.testing.assert_allclose(np.concatenate(made)[gate.delay :], gate(values), rtol=0, atol=1e-10)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 60), max_size=8), st.sampled_from([0.0, 0.5]))
def test_rate_gates_read_gaps_in_any_chunks(seed, cuts, absent):
    gate, values, cuts = RateGate([20.0, 50.0, 1.0]), rows(seed, absent=absent), sorted(cuts)
    gaps = np.random.default_rng(seed).uniform(0.01, 0.5, 60)
    state, made = gate.start(3), []
    for begin, end in zip([0, *cuts], [*cuts, 60], strict=True):
        chunk, state = gate.transform(values[begin:end], state, gaps[begin:end])
        made.append(chunk)
    np.testing.assert_array_equal(np.concatenate(made), gate(values, gaps))


def test_hampel_equals_its_definition_and_finds_spikes():
    values = rows(1, absent=0.2)
    for centred in (False, True):
        made = Hampel(7, 3.0, centred, "absent")(values)
        for row, channel in np.ndindex(values.shape):
            begin, end = (row - 3, row + 4) if centred else (row - 6, row + 1)
            window = values[max(0, begin) : end, channel]
            median = np.nanmedian(window) if np.isfinite(window).any() else np.nan
            far = abs(values[row, channel] - median) > 3 * 1.4826 * np.nanmedian(np.abs(window - median))
            assert np.isnan(made[row, channel]) == (far or np.isnan(values[row, channel]))
    rng = np.random.default_rng(0)
    clean = np.sin(np.arange(2000) / 50)[:, None] + 0.01 * rng.standard_normal((2000, 1))
    spiked = clean.copy()
    spiked[::100] += 1.0
    cleaned = Hampel(11, 5.0, centred=True)(spiked)
    assert flag(spiked, cleaned)[::100].all() and flag(spiked, cleaned).mean() < 0.03
    np.testing.assert_allclose(cleaned, clean, atol=0.15)


def test_range_gate_takes_channels_apart():
    values = np.array([[-3.0, 0.5], [1.0, 5.0]])
    np.testing.assert_array_equal(RangeGate(-2.0, [2.0, 6.0])(values), [[np.nan, 0.5], [1.0, 5.0]])
    np.testing.assert_array_equal(RangeGate(-2.0, 2.0, "clamp")(values), [[-2.0, 0.5], [1.0, 2.0]])


def test_rate_gate_refuses_spikes_and_lets_steps_through_in_time():
    values = np.zeros((40, 1))
    values[5], values[20:] = 9.0, 4.0
    made = RateGate(1.0)(values)
    assert np.isnan(made[5]).all() and np.isfinite(made[6:20]).all()
    assert np.isnan(made[20:23]).all() and np.isfinite(made[23:]).all()  # a step of 4 at 1 a second
    gaps = np.ones(40)
    gaps[20] = 10.0
    assert np.isfinite(RateGate(1.0)(values, gaps)[20:]).all()


def test_gates_learn_their_limits_from_clean_rows():
    values = np.sin(np.arange(2000)[:, None] / 20) * [1.0, 50.0]
    values[3] = np.nan
    gate = RangeGate.fit(values, margin=0.1)
    np.testing.assert_allclose(gate.high, [1.2, 60.0], rtol=0.01)
    moved = values + np.array([0, 30])
    assert not flag(values, gate(values)).any() and flag(moved, gate(moved))[:, 1].any()
    rate = RateGate.fit(values, 100.0)
    np.testing.assert_allclose(rate.limit, [3 * 5.0, 3 * 250.0], rtol=0.01)
    assert not flag(values, rate(values)).any()
    with pytest.raises(ValueError, match="channel 1 does not move"):
        RangeGate.fit(values * [1, 0])
    with pytest.raises(ValueError, match="channel 0 does not move"):
        RateGate.fit(values * [0, 1], 100.0)


def test_stuck_takes_runs_from_the_row_on_that_shows_them():
    values = np.array([1, 2, 2, 2, 2, 3, 3, 4, np.nan, 4, 4.0])[:, None]
    lost = flag(values, Stuck(3)(values))[:, 0]
    np.testing.assert_array_equal(np.flatnonzero(lost), [3, 4, 10])


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_chi_square_gate_has_its_probability_and_takes_absent_components_out(make):
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((3, 3))
    spread = factor @ factor.T + np.eye(3)
    drawn = rng.multivariate_normal(np.zeros(3), spread, 20000)
    gate = ChiSquareGate(0.95)
    accepted, distance = gate(make(drawn), make(spread))
    assert type(accepted) is type(make(drawn))
    assert float(np.mean(np.asarray(accepted))) == pytest.approx(0.95, abs=0.005)
    wanted = np.einsum("ni,ij,nj->n", drawn, np.linalg.inv(spread), drawn)
    np.testing.assert_allclose(distance, wanted, rtol=1e-9)
    drawn[:, 1] = np.nan
    kept = [0, 2]
    inverse = np.linalg.inv(spread[np.ix_(kept, kept)])
    some = gate(make(drawn), make(spread))
    np.testing.assert_allclose(
        some.distance, np.einsum("ni,ij,nj->n", drawn[:, kept], inverse, drawn[:, kept]), rtol=1e-9
    )
    assert float(np.mean(np.asarray(some.accepted))) == pytest.approx(0.95, abs=0.005)
    none = gate(make(np.full((1, 3), np.nan)), make(spread))
    assert not none.accepted[0] and np.isnan(float(none.distance[0]))


def test_chi_square_gate_names_a_covariance_that_is_none():
    spread = np.stack([np.eye(2), -np.eye(2)])
    with pytest.raises(ValueError, match=r"covariance \[1\] is not positive definite"):
        ChiSquareGate()(np.zeros((2, 2)), spread)
    with pytest.raises(ValueError, match=r"covariance \(3, 3\): needed"):
        ChiSquareGate()(np.zeros((2, 2)), np.eye(3))


def scene(seed, count=3000):
    rng = np.random.default_rng(seed)
    ground = np.c_[rng.uniform(-20, 20, (count, 2)), 0.02 * rng.standard_normal(count)]
    ground[:, 2] += -1.7 + 0.05 * ground[:, 0]
    return np.r_[ground, rng.uniform([-20, -20, -1], [20, 20, 3], (count, 3))]


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_ransac_finds_the_ground_alone_and_in_batches(make):
    sets = np.stack([scene(0), scene(1)])
    sets[0, 7] = np.nan
    fit = RansacPlane(0.1, up=(0, 0, 1))
    plane = fit(make(sets))
    normal = np.array([-0.05, 0, 1]) / np.hypot(0.05, 1)
    np.testing.assert_allclose(plane.normal, [normal, normal], atol=2e-3)
    np.testing.assert_allclose(plane.offset, 1.7 * normal[2], atol=0.01)
    assert float(np.asarray(plane.inliers)[:, :3000].mean()) > 0.998 and not plane.inliers[0, 7]
    alone = fit(make(sets[1]))
    np.testing.assert_array_equal(alone.normal, plane.normal[1])
    np.testing.assert_array_equal(alone.inliers, plane.inliers[1])
    away = np.asarray(signed_distance(plane, make(sets)))
    np.testing.assert_array_equal(np.abs(away[1]) <= 0.1, plane.inliers[1])


def test_ransac_keeps_to_the_tilt():
    rng = np.random.default_rng(0)
    wall = np.c_[np.full(5000, 4.0), rng.uniform(-5, 5, 5000), rng.uniform(-1, 5, 5000)]
    floor = np.c_[rng.uniform(-5, 5, (1000, 2)), np.full(1000, -1.0)]
    plane = RansacPlane(0.05, up=(0, 0, 1))(np.r_[wall, floor])
    np.testing.assert_allclose(plane.normal, [0, 0, 1], atol=2e-3)  # the foot of the wall is in it
    np.testing.assert_allclose(RansacPlane(0.05)(np.r_[wall, floor]).normal, [1, 0, 0], atol=2e-3)


def test_sets_without_a_plane_are_named():
    line = np.outer(np.arange(10.0), [1, 2, 3]) + 5
    wall = np.c_[np.full(9, 4.0), np.random.default_rng(0).uniform(size=(9, 2))]
    for points, why in (
        (np.full((5, 3), np.nan), "set 0 of .* has 0 finite points, a plane needs 3"),
        (line, "has all points on one line"),
        (np.ones((8, 3)), "has all points on one line"),
        (wall, "no triple gave a normal within 0.262 rad of up"),
    ):
        with pytest.raises(DegenerateError, match=why):
            RansacPlane(up=(0, 0, 1))(points)
        plane = RansacPlane(up=(0, 0, 1), degenerate="absent")(points)
        assert np.isnan(plane.normal).all() and not plane.inliers.any()
    assert RansacPlane()(np.zeros((0, 5, 3))).normal.shape == (0, 3)
