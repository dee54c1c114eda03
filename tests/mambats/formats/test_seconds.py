from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambats.formats import DataError
from mambats.formats.digits import text_alike
from mambats.formats.repair import Place
from mambats.formats.seconds import POWERS, _any_text, ns_to_text, text_to_ns

PLACE = Place("log.csv", 2, "line")


def read(*cells, unit="s"):
    return text_to_ns(pl.Series(cells), unit, PLACE).tolist()


def test_no_digit_is_lost():
    assert read("1403636580.838555648") == [1403636580838555648]
    assert read("1.40363657975856E+018", "1403636579763560001", unit="ns") == [1403636579758560000, 1403636579763560001]
    assert read("0", "0.010078907", ".5", "5.", "-1.5", "+2e-3", "1e1") == [
        0, 10_078_907, 500_000_000, 5 * 10**9, -1_500_000_000, 2_000_000, 10**10,
    ]  # fmt: skip
    assert read("46534.478375790000428", "0.0000000005", "0.00000000049") == [46534478375790, 1, 0]
    assert read("15", "149", "4", "1e-3", unit="ns") == [15, 149, 4, 0]
    assert read("1.5e-9", "25e-10", "1e-12") == [2, 3, 0]
    assert read("1e-99999999999999999999", "0e99999") == [0, 0]


@given(st.decimals(-9 * 10**9, 9 * 10**9, places=12), st.sampled_from(sorted(POWERS)), st.booleans())
def test_it_is_decimal_arithmetic(number, unit, scientific):
    number = number if unit == "s" else number / 1000
    text = f"{number:E}" if scientific else f"{number:f}"
    exact = int((Decimal(text) * 10 ** POWERS[unit]).to_integral_value(ROUND_HALF_UP))
    assert read(text, unit=unit) == [exact]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 10**13)), min_size=1, max_size=5),
    st.integers(0, 12),
    st.sampled_from(["", "E+003", "e-4"]),
)
def test_columns_written_alike_are_read_the_same(cells, places, end):
    """The pass over digits agrees with the one by regular expression."""
    texts = [
        f"{'-' if minus else ''}{value // 10**places}.{value % 10**places:0{places}d}{end}" for minus, value in cells
    ]
    column = pl.Series(texts)
    for unit, power in POWERS.items():
        fast = text_alike(column, power)
        assert fast is None or fast.tolist() == _any_text(column, unit, PLACE).tolist()
    assert text_alike(pl.Series(["1403636580.83856", "1403636580.84356"]), 9).tolist() == [
        1403636580838560000, 1403636580843560000,
    ]  # fmt: skip
    assert text_alike(pl.Series(["1:3", "1.4"]), 9) is None


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5))
def test_what_is_written_is_read(stamps):
    column = ns_to_text(np.array(stamps, dtype=np.int64))
    assert text_to_ns(column, "s", PLACE).tolist() == stamps


def test_fewer_digits_round():
    assert ns_to_text(np.array([1_499_999_999, 1_000_000_049]), 7).to_list() == ["1.5000000", "1.0000000"]
    assert ns_to_text(np.array([1_499_999_999]), 0).to_list() == ["1"]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("1", "x"), r"log.csv, line 3: 'x' is not a time \(1 such"),
        (("", "1"), "line 2: '' is not a time"),
        (("1", "1e40"), "line 3: '1e40' does not fit in 64 bits"),
    ],
)
def test_other_cells_are_named(cells, message):
    with pytest.raises(DataError, match=message):
        read(*cells)
    with pytest.raises(DataError, match="time unit 'min'"):
        read("1", unit="min")
