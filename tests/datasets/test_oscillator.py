import numpy as np
import pytest

from mambats.data import DataError
from mambats_datasets import Oscillators


def test_the_same_seed_gives_the_same_series():
    one, other, changed = (Oscillators(seed=seed).recordings()[0].streams["target"].values for seed in (0, 0, 1))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, changed)


def test_lengths_gaps_and_covariates_are_as_asked():
    first, second = Oscillators(rows=1000, series=2, absent=0.2, irregular=0.1, covariates=True).recordings()
    assert len(second.streams["target"]) < len(first.streams["target"]) < 1000
    assert 0.15 < 1 - first.streams["target"].observed.mean() < 0.25
    assert set(first.streams) == {"target", "past", "future"}
    assert second.static == {"size": 1.0}


def test_bad_shares_are_refused():
    with pytest.raises(DataError, match="must lie in"):
        Oscillators(absent=1.0)
