"""The linear skip gives the same history and forecasts for any chunks and for steps, whatever the gaps."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.forecast.skip import LinearSkip, SkipState

L, K, C = 5, 3, 2
GAPS = st.one_of(
    st.sampled_from([0.0, 0.25, 0.4, 0.5, 0.6, 1.0, 1.4, 1.5, 2.5, 4.0, 5.0, 1e3]),
    st.floats(0, 7, width=32),
)


@st.composite
def series(draw):
    """Gaps (2, T), values and what was observed (2, T, C), and where to cut."""
    length = draw(st.integers(1, 14))
    gaps = draw(st.lists(st.lists(GAPS, min_size=length, max_size=length), min_size=2, max_size=2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    values = torch.randn(2, length, C, generator=generator, dtype=torch.float64)
    observed = torch.rand(2, length, C, generator=generator) < 0.7
    cuts = sorted({0, length, *draw(st.lists(st.integers(1, length), max_size=4))})
    return torch.tensor(gaps, dtype=torch.float32), values, observed, list(itertools.pairwise(cuts))


def made():
    generator = torch.Generator().manual_seed(3)
    skip = LinearSkip(L, K).double()
    with torch.no_grad():
        skip.weight.copy_(torch.randn(K, L, generator=generator))
    return skip


@torch.no_grad()
def chunked(skip, gaps, values, observed, parts):
    state, found = skip.init_state(2, C), []
    for begin, end in parts:
        rows = torch.arange(end - begin)
        out, state = skip.roll(values[:, begin:end], gaps[:, begin:end], observed[:, begin:end], state, rows)
        found.append(out)
    return torch.cat(found, 1), state


@torch.no_grad()
def stepped(skip, gaps, values, observed):
    state, found = skip.init_state(2, C), []
    for t in range(values.shape[1]):
        out, state = skip.step(values[:, t : t + 1], gaps[:, t : t + 1], observed[:, t : t + 1], state)
        found.append(out)
    return torch.cat(found, 1), state


def seen(state: SkipState):
    return torch.where(state.observed, state.values, 0.0), state.observed


@settings(max_examples=50, deadline=None)
@given(series())
def test_chunks_and_steps_agree_to_the_bit(drawn):
    gaps, values, observed, parts = drawn
    skip = made()
    whole, after = chunked(skip, gaps, values, observed, [(0, values.shape[1])])
    for out, state in (chunked(skip, gaps, values, observed, parts), stepped(skip, gaps, values, observed)):
        assert all(torch.equal(mine, other) for mine, other in zip(seen(state), seen(after), strict=True))
        torch.testing.assert_close(out, whole, rtol=1e-12, atol=1e-12)  # sums of another matrix shape


def test_fractions_do_not_add_up():
    """Three rows 1.4 periods apart stand at places 1, 2 and 3, in one chunk as in three: a sum of 4.2 would say 4."""
    values = torch.tensor([[[1.0], [2.0], [3.0]]], dtype=torch.float64).expand(2, 3, C)
    gaps, observed = torch.full((2, 3), 1.4), torch.ones(2, 3, C, dtype=torch.bool)
    _, state = chunked(made(), gaps, values, observed, [(0, 3)])
    assert state.values[0, :, 0].tolist() == [0, 0, 1, 2, 3]
