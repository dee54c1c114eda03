import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data.distributed import DistributedSampler

from mambats.data import DataError
from mambats.data.sampler import Share, WindowSampler

sizes = st.tuples(st.integers(8, 300), st.sampled_from([4, 8, 12, 16]), st.sampled_from([1, 2, 4]))


def steps(windows, batch, world, **options):
    shares = [list(WindowSampler(windows, batch, Share(rank, world), **options)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1, "every rank takes the same number of steps"
    assert len(shares[0]) == len(WindowSampler(windows, batch, Share(0, world), **options))
    return [[share[step] for share in shares] for step in range(len(shares[0]))]


@given(sizes)
def test_training_steps_are_the_same_sets_whatever_the_world(size):
    windows, batch, world = size
    alone = steps(windows, batch, 1, shuffle=True, seed=1)
    together = steps(windows, batch, world, shuffle=True, seed=1)
    assert len(alone) == len(together)
    for [whole], shares in zip(alone, together, strict=True):
        assert sorted(whole) == sorted(np.concatenate(shares))
        assert {len(share) for share in shares} == {batch // world}


@given(sizes)
def test_training_sees_every_window_and_repeats_less_than_a_batch(size):
    windows, batch, world = size
    seen = np.concatenate(list(itertools.chain(*steps(windows, batch, world, shuffle=True))))
    counts = np.bincount(seen, minlength=windows)
    assert counts.min() >= 1
    assert len(seen) - windows < batch


@given(sizes)
def test_evaluation_counts_every_window_once(size):
    windows, batch, world = size
    found = steps(windows, batch, world)
    seen = np.concatenate(list(itertools.chain(*found)))
    assert np.array_equal(np.sort(seen), np.arange(windows))
    for shares in found:
        lengths = [len(share) for share in shares]
        assert min(lengths) >= 1
        assert max(lengths) - min(lengths) <= 1
        # Too few windows for one more step of all processes are spread over the others.
        assert max(lengths) <= batch // world + 1


def test_evaluation_is_in_order():
    assert np.array_equal(np.concatenate(list(WindowSampler(10, 4))), np.arange(10))


def test_epochs_differ_and_come_back():
    sampler = WindowSampler(100, 10, shuffle=True, seed=4)
    first = np.concatenate(list(sampler))
    sampler.set_epoch(1)
    second = np.concatenate(list(sampler))
    sampler.set_epoch(0)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, np.concatenate(list(sampler)))


def test_dropping_the_last_step_leaves_whole_ones_without_repeats():
    seen = np.concatenate(list(WindowSampler(103, 10, shuffle=True, drop_last=True)))
    assert len(seen) == 100
    assert len(set(seen)) == 100


def test_an_epoch_starts_at_once_on_a_million_million_windows():
    batch = next(iter(WindowSampler(10**12, 32, shuffle=True)))
    assert batch.shape == (32,)
    assert batch.max() > 10**9


def test_lightning_leaves_it_alone():
    assert isinstance(WindowSampler(10, 2), DistributedSampler)


def test_uneven_shares_of_a_gradient_are_refused():
    with pytest.raises(DataError, match="batch_size is 6 over 4 processes: choose a multiple"):
        WindowSampler(100, 6, Share(0, 4), shuffle=True)


def test_more_processes_than_windows_are_refused():
    with pytest.raises(DataError, match="3 windows for 4 processes"):
        WindowSampler(3, 4, Share(0, 4))
