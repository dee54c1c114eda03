"""Streams on clocks of their own, brought together; judged by slow, plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.data.align import hold, linear, match, merge, overlap, resample
from mambats.series import RaggedStream, Recording, Stream

clocks = st.lists(st.integers(0, 60), max_size=25, unique=True).map(lambda v: np.array(sorted(v), np.int64))


def stream(stamps, values=None, **more):
    values = np.arange(2.0 * len(stamps)).reshape(-1, 2) if values is None else values
    return Stream(np.asarray(stamps, np.int64), values, tuple("ab")[: values.shape[1]], **more)


@settings(max_examples=150, deadline=None)
@given(clocks, clocks, st.booleans(), st.sampled_from([None, 0, 3]))
def test_the_last_row_before_each_time(stamps, others, strict, tolerance):
    found = match(stamps, others, strict=strict, tolerance_ns=tolerance)
    for at, row, age in zip(stamps, found.rows, found.age, strict=True):
        before = [k for k, t in enumerate(others) if t < at or (t == at and not strict)]
        if tolerance is not None:
            before = [k for k in before if at - others[k] <= tolerance]
        assert row == (before[-1] if before else -1)
        assert age == (at - others[row] if before else 0)


@settings(max_examples=60, deadline=None)
@given(clocks, clocks)
def test_the_next_and_the_nearest_row(stamps, others):
    later, near = match(stamps, others, side="next"), match(stamps, others, side="nearest")
    for k, at in enumerate(stamps):
        after = [j for j, t in enumerate(others) if t >= at]
        assert later.rows[k] == (after[0] if after else -1)
        assert not len(others) or abs(near.age[k]) == min(abs(others - at))


def test_held_values_have_an_age_and_are_absent_where_too_old():
    held = hold(stream([10, 20], unit=("m", "s")), np.array([5, 10, 19, 45], np.int64), tolerance_ns=20)
    assert held.channels == ("a", "b", "age") and held.units == ("m", "s", "s")
    np.testing.assert_array_equal(held.observed.all(1), [False, True, True, False])
    np.testing.assert_allclose(held.values[1:3], [[0, 1, 0], [0, 1, 9e-9]])
    assert np.isnan(held.values[[0, 3]]).all()


def test_straight_lines_and_what_they_refuse():
    line = linear(stream([0, 10, 40]), np.array([-1, 5, 10, 25, 41], np.int64), longest_ns=20)
    np.testing.assert_allclose(line.values, [[np.nan] * 2, [1, 2], [2, 3], [np.nan] * 2, [np.nan] * 2])
    np.testing.assert_array_equal(line.observed[:, 0], [False, True, True, False, False])
    with pytest.raises(ValueError, match="every value observed"):
        linear(stream([0, 1], observed=np.array([[True, True], [False, True]])), np.array([0], np.int64))
    turning = Stream(np.array([0, 1]), np.ones((2, 1)), ("qw",))
    with pytest.raises(ValueError, match="quaternion"):
        linear(turning, np.array([0], np.int64))


@pytest.mark.parametrize("how", ["mean", "median", "last", "sum"])
def test_bins_speak_of_the_time_before_their_stamp(how):
    random = np.random.default_rng(0)
    stamps = np.sort(random.choice(200, 60, replace=False)).astype(np.int64)
    values, observed = random.normal(size=(60, 2)), random.random((60, 2)) < 0.7
    values[~observed] = np.nan
    binned = resample(stream(stamps, values, observed=observed), 7, how=how)
    simple = {"mean": np.mean, "median": np.median, "last": lambda v: v[-1], "sum": np.sum}[how]
    ends = np.unique(-(-stamps // 7) * 7)
    np.testing.assert_array_equal(binned.stamps, ends)
    for row, end in enumerate(ends):
        for column in range(2):
            inside = values[(stamps > end - 7) & (stamps <= end) & observed[:, column], column]
            if len(inside):
                np.testing.assert_allclose(binned.values[row, column], simple(inside))
            else:
                assert np.isnan(binned.values[row, column]) and not binned.observed[row, column]


def test_events_of_all_streams_in_one_order():
    sweeps = RaggedStream(np.array([5, 10]), np.array([0, 1, 3]), np.ones((3, 1)), ("x",))
    recording = Recording("r", {"imu": stream([0, 5, 10])}, ragged={"lidar": sweeps})
    events = merge(recording, ("lidar", "imu"))
    assert events.stamps.tolist() == [0, 5, 5, 10, 10]
    assert events.stream.tolist() == [1, 0, 1, 0, 1] and events.rows.tolist() == [0, 0, 1, 1, 2]
    with pytest.raises(ValueError, match="no stream 'gnss', it has imu, lidar"):
        merge(recording, ("gnss",))


def test_streams_that_never_run_together_are_named():
    recording = Recording("r", {"imu": stream([0, 5]), "gnss": stream([10**9, 2 * 10**9])})
    with pytest.raises(ValueError, match=r"'imu' ends at 5 ns, 'gnss' begins at 1000000000 ns, 1\.000 s later"):
        overlap(recording, ("gnss", "imu"))
