import numpy as np
import pytest

from mambats.data import Borders, DataError, Dates, Fractions

HOURS = np.arange(1000) * 3600 * 10**9


def test_fractions_follow_the_custom_convention():
    # 7,588 rows of exchange rates: int(.7 n) = 5311, int(.2 n) = 1517.
    assert Fractions().borders(np.arange(7588)) == (5311, 6071, 7588)


def test_borders_hold_for_every_series():
    assert Borders(100, 200, 300).borders(HOURS) == (100, 200, 300)
    assert Borders(100, 200).borders(HOURS) == (100, 200, 1000)


def test_dates_cut_before_the_moment():
    assert Dates("1970-01-02", "1970-01-03T12:00").borders(HOURS) == (24, 60, 1000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fractions(0.8, 0.3), "at most 1"),
        (lambda: Fractions(0, 0.3), "positive"),
        (lambda: Borders(100, 50).borders(HOURS), "100, 50, 1000, the series has 1000 rows"),
        (lambda: Borders(100, 500, 2000).borders(HOURS), "Set `split`"),
        (lambda: Dates("soon", "1970-01-03").borders(HOURS), "write them as 2017-07-01"),
        (lambda: Dates("1970-01-05", "1970-01-03").borders(HOURS), "give them in order"),
    ],
)
def test_bad_splits_say_what_is_wrong(make, message):
    with pytest.raises(DataError, match=message):
        make()
