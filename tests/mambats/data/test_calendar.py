from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from mambats.data import DataError, calendar_features
from mambats.data.calendar import calendar_names

START = datetime(1968, 2, 27, 5, 30, tzinfo=UTC)
MOMENTS = [START + timedelta(hours=7 * i) for i in range(5000)]
STAMPS = np.array([int(moment.timestamp()) * 10**9 for moment in MOMENTS])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hour_of_day_number", lambda m: (m.hour + m.minute / 60) / 23 - 0.5),
        ("day_of_week_number", lambda m: m.weekday() / 6 - 0.5),
        ("day_of_month_number", lambda m: (m.day - 1) / 30 - 0.5),
        ("day_of_year_number", lambda m: (m.timetuple().tm_yday - 1) / 365 - 0.5),
    ],
)
def test_numbers_agree_with_the_standard_library(name, expected):
    found = calendar_features(STAMPS, [name])
    assert np.allclose(found[0], [expected(moment) for moment in MOMENTS], atol=1e-6)


def test_cycles_lie_on_the_circle_and_close():
    sine, cosine = calendar_features(STAMPS, ["hour_of_day"])
    assert np.allclose(sine**2 + cosine**2, 1, atol=1e-6)
    noon = calendar_features(np.array([12 * 3600 * 10**9]), ["hour_of_day"])
    assert np.allclose(noon[:, 0], [0, -1], atol=1e-6)


def test_names_match_columns():
    calendar = ("hour_of_day", "day_of_week_number", "day_of_year")
    assert len(calendar_names(calendar)) == len(calendar_features(STAMPS[:3], calendar)) == 5


def test_unknown_features_are_named():
    with pytest.raises(DataError, match=r"'moon' is not known: choose of hour_of_day"):
        calendar_features(STAMPS, ["moon"])
