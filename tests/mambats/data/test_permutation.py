import numpy as np
import pytest

from mambats.data.permutation import Permutation


@pytest.mark.parametrize("n", [*range(1, 40), 97, 1000, 65_537])
def test_every_number_comes_once(n):
    order = Permutation(n, seed=3, epoch=1)(np.arange(n))
    assert np.array_equal(np.sort(order), np.arange(n))


def test_the_order_is_that_of_seed_and_epoch():
    at = np.arange(1000)
    first = Permutation(1000, 0, 0)(at)
    assert np.array_equal(first, Permutation(1000, 0, 0)(at))
    assert not np.array_equal(first, Permutation(1000, 0, 1)(at))
    assert not np.array_equal(first, Permutation(1000, 1, 0)(at))


def test_positions_can_be_asked_in_any_pieces():
    order = Permutation(1000, 5)
    assert np.array_equal(order(np.arange(1000))[300:400], order(np.arange(300, 400)))


@pytest.mark.parametrize("n", [60, 1000])
def test_numbers_spread_over_positions_like_chance(n):
    # Where number 0 lands over 1000 epochs, in 10 bins: chi-square with 9 degrees of freedom, 0.999 quantile 27.9.
    bins = np.zeros(10)
    for epoch in range(1000):
        place = int(np.flatnonzero(Permutation(n, 0, epoch)(np.arange(n)) == 0)[0])
        bins[place * 10 // n] += 1
    assert ((bins - 100) ** 2 / 100).sum() < 27.9


def test_neighbours_are_parted():
    order = Permutation(100_000, 0)(np.arange(100_000))
    assert (np.abs(np.diff(order)) < 100).mean() < 0.004  # chance: 0.002


def test_a_million_million_windows_need_no_list():
    n = 10**12
    found = Permutation(n, 0)(np.arange(n - 1000, n))
    assert found.min() >= 0
    assert found.max() < n
    assert len(np.unique(found)) == 1000
