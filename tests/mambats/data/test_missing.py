import numpy as np
import pytest
import torch

from mambats.data import DataError, WindowDataModule
from mambats.data.missing import existing_rows, fill_forward
from mambats.data.panel import Panel, block_of
from mambats_datasets import Oscillators

NAN = np.nan


def block(*rows):
    return block_of(tuple("abc"[: len(rows)]), np.array(rows, dtype=np.float32))


def panel(target, past=None, offsets=(0, 6)):
    return Panel("test", tuple("xyz"[: len(offsets) - 1]), np.arange(6) * 10**9, np.array(offsets), target, past)


def test_filling_carries_on_inside_a_series_only():
    filled = fill_forward(block([1, NAN, NAN, NAN, 5, NAN], [NAN, 2, NAN, 4, NAN, NAN]), np.array([0, 3, 6]))
    assert np.array_equal(filled, [[1, 1, 1, NAN, 5, 5], [NAN, 2, 2, 4, 4, 4]], equal_nan=True)


def test_a_row_exists_if_any_target_or_past_covariate_was_measured():
    target, past = block([1, NAN, NAN, 4, NAN, 6]), block([NAN, NAN, 3, NAN, NAN, NAN])
    assert existing_rows(panel(target)).tolist() == [True, False, False, True, False, True]
    assert existing_rows(panel(target, past)).tolist() == [True, False, True, True, False, True]
    assert existing_rows(panel(target, block([1, 2, 3, 4, 5, 6]))) is None


def opened(missing, absent=0.3):
    data = WindowDataModule(Oscillators(rows=300, absent=absent), 24, 8, missing=missing)
    data.setup()
    return data


def test_absent_values_are_zero_and_flagged():
    batch = opened("absent").windows("train")[np.arange(100)]
    assert not batch.observed.all()
    assert not batch.values[~batch.observed].any()
    assert torch.equal(batch.mask, batch.observed.any(2))


def test_filled_windows_read_full_lookbacks_and_are_scored_on_the_same_targets():
    absent, filled = (opened(missing).windows("train")[np.arange(100)] for missing in ("absent", "forward_fill"))
    assert filled.mask is None
    assert filled.observed[:, :24].all()
    assert torch.equal(filled.target_observed, absent.target_observed)
    assert torch.equal(filled.target[filled.target_observed], absent.target[absent.target_observed])
    last = filled.values[:, :23][~absent.observed[:, 1:24]], filled.values[:, 1:24][~absent.observed[:, 1:24]]
    assert torch.equal(*last), "a hole holds the value before it"


def test_a_run_says_what_may_be_scored():
    absent, filled = opened("absent").run("test", 50), opened("forward_fill").run("test", 50)
    assert filled.observed is None
    assert torch.equal(filled.scored, absent.scored)
    assert torch.equal(absent.observed, absent.scored)


def test_refused_holes_are_named():
    with pytest.raises(
        DataError, match=r"target column 'channel_0' of series 'oscillator_0' has no value in row \d+ \("
    ):
        opened("refuse")


def test_a_complete_series_is_never_refused():
    assert opened("refuse", absent=0.0).windows("train")[np.arange(3)].observed is None


def test_an_unknown_choice_is_refused():
    with pytest.raises(DataError, match="choose one of absent, forward_fill, refuse"):
        WindowDataModule(Oscillators(), 24, 8, missing="guess")
