import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambats.formats import DataError
from mambats.formats.repair import REFUSE, REPAIR, Place, Policy, mark_missing, settle_clock, settle_quaternions

PLACE = Place("imu.csv", 2, "line")


def ns(*stamps):
    return np.array(stamps, dtype=np.int64)


def test_a_rising_clock_is_left_alone():
    settled = settle_clock(ns(1, 2, 5), PLACE)
    assert settled.rows.tolist() == [0, 1, 2]
    assert settled.repairs == ()
    assert settle_clock(ns(), PLACE, REPAIR).rows.tolist() == []


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        ((1, 3, 3, 4), r"imu.csv, line 4: the clock is the same as one before: 3 ns after 3 ns \(1 rows .* 0 that go"),
        ((1, 3, 2, 3), r"imu.csv, line 4: the clock goes back: 2 ns after 3 ns \(1 rows .* 1 that go back\)"),
    ],
)
def test_other_clocks_are_refused_with_their_line(stamps, message):
    with pytest.raises(DataError, match=message + r".*clock='repair'"):
        settle_clock(ns(*stamps), PLACE, REFUSE)


def test_a_repair_keeps_the_first_and_counts():
    stamps = ns(*range(30), 29, 28, 27, *range(30, 60))
    settled = settle_clock(stamps, PLACE, REPAIR)
    assert stamps[settled.rows].tolist() == list(range(60))
    assert settled.repairs == (
        "imu.csv: 1 rows with a stamp that was there before, dropped, the first is line 32",
        "imu.csv: 2 rows with a clock that goes back, dropped, the first is line 33",
    )


def test_one_stamp_far_ahead_does_not_eat_the_rest():
    with pytest.raises(DataError, match="would drop 97 of 100 rows.*is a stamp far ahead"):
        settle_clock(ns(0, 1, 10**18, *range(2, 99)), PLACE, REPAIR)
    assert len(settle_clock(ns(0, 1, 10**18, *range(2, 99)), PLACE, Policy("repair", most=1)).rows) == 3


@given(st.lists(st.integers(-20, 20), max_size=40))
def test_what_is_kept_rises_and_what_is_dropped_is_counted(stamps):
    settled = settle_clock(ns(*stamps), PLACE, Policy("repair", most=1))
    kept = ns(*stamps)[settled.rows]
    assert (np.diff(kept) > 0).all()
    assert set(kept.tolist()) >= ({max(stamps)} if stamps else set())
    counted = sum(int(line.split(": ")[1].split()[0]) for line in settled.repairs)
    assert counted == len(stamps) - len(kept)


def test_values_that_are_not_finite_are_unobserved_and_located():
    values = np.ones((8, 2))
    values[2, 0] = values[5:7, 1] = np.nan
    values[7, 0] = np.inf
    observed, [line] = mark_missing(values, PLACE)
    assert np.argwhere(~observed).tolist() == [[2, 0], [5, 1], [6, 1], [7, 0]]
    assert np.isnan(values[7, 0])
    assert "4 of 8 rows" in line
    assert "2 bursts; the longest has 3 rows from line 7" in line
    assert mark_missing(np.ones((3, 1)), PLACE) == (None, ())


def test_quaternions_are_normalised_or_refused():
    turns = np.array([[0, 0, 0, 1], [0, 0, 0, 1.0004], [0, 0, 0, 1.02], [0, 0, 0, 0], [np.nan] * 4])
    with pytest.raises(DataError, match=r"line 4: quaternion .* has length 1.0200.* \(2 such rows\)"):
        settle_quaternions(turns, PLACE)
    mended, lines = settle_quaternions(turns, PLACE, REPAIR)
    assert mended[:3, 3].tolist() == [1, 1.0004, 1]
    assert np.isnan(mended[3:]).all()
    assert [line.split(", the")[0] for line in lines] == [
        "imu.csv: 1 rows with a quaternion not of length 1, normalised",
        "imu.csv: 1 rows with a quaternion of length far from 1, marked unobserved",
    ]


def test_rows_know_their_own_numbers():
    place = Place("points.csv", ns(2, 7, 9), "line")
    assert place.at(1) == "points.csv, line 7"
    assert place.keep(ns(0, 2)).at(1) == "points.csv, line 9"
    assert PLACE.keep(ns(0, 5)).at(1) == "imu.csv, line 7"


@pytest.mark.parametrize("wrong", [{"clock": "sort"}, {"units": "guess"}, {"torn": "no"}, {"most": 2}])
def test_unknown_choices_are_refused(wrong):
    with pytest.raises(DataError, match=next(iter(wrong))):
        Policy(**wrong)
