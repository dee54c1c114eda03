import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats_datasets.synthetic import noise
from mambats_datasets.synthetic.noise import gauss_markov, random_walk, spells


def fresh(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_variance_of_a_random_walk_grows_with_its_steps():
    walk = random_walk((4000, 401), 0.5, fresh())
    assert torch.equal(walk[:, 0], torch.zeros(4000).double())
    for row in (100, 400):  # the variance of 4000 draws is known to 2.2 %
        assert math.isclose(float(walk[:, row].var()), 0.25 * row, rel_tol=0.08)


def test_a_gauss_markov_process_is_stationary_and_forgets_as_stated():
    made = gauss_markov((8000, 201), 2.0, 10.0, 0.1, fresh())
    for row in (0, 50, 200):
        assert math.isclose(float(made[:, row].std()), 2.0, rel_tol=0.04)
    for lag in (50, 100):
        correlation = float((made[:, 100] * made[:, 100 + lag]).mean() / 4)
        assert abs(correlation - math.exp(-lag * 0.1 / 10.0)) < 0.04


@given(decay=st.floats(1e-4, 50), count=st.integers(1, 400), seed=st.integers(0, 2**31))
def test_the_sum_solves_the_recursion_whatever_the_spans(decay, count, seed):
    whole = gauss_markov((2, count), 1.0, 1 / decay, 1.0, fresh(seed))
    drive = torch.randn((2, count), generator=fresh(seed)).double() * math.sqrt(-math.expm1(-2 * decay))
    state = drive[:, 0] / math.sqrt(-math.expm1(-2 * decay))
    assert torch.allclose(whole[:, 0], state)
    for row in range(1, count):
        state = math.exp(-decay) * state + drive[:, row]
        assert torch.allclose(whole[:, row], state, rtol=0, atol=1e-10)


def test_no_deviation_is_no_error():
    assert not gauss_markov((2, 5000), 0.0, 1.0, 1.0, fresh()).any()


def test_spans_of_any_length_give_the_same(monkeypatch):
    one = gauss_markov((3, 1000), 1.0, 7.0, 1.0, fresh())
    monkeypatch.setattr(noise, "REACH", 3.0)
    assert torch.allclose(one, gauss_markov((3, 1000), 1.0, 7.0, 1.0, fresh()), rtol=0, atol=1e-12)


def test_spells_take_their_share_and_last_as_long_as_stated():
    on = spells((200, 20_000), 0.2, 3.0, 0.1, fresh())
    begins = (on[:, 1:] & ~on[:, :-1]).sum()
    assert abs(float(on.double().mean()) - 0.2) < 0.01
    assert math.isclose(float(on.sum() / begins) * 0.1, 3.0, rel_tol=0.05)
    assert not on[:, 0].any()
    assert not spells((2, 50), 0.0, 1.0, 0.1, fresh()).any()
    with pytest.raises(ValueError, match="share 1.0 must lie"):
        spells((1, 1), 1.0, 1.0, 1.0, fresh())
