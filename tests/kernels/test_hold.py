"""The hold finds what its definition finds, packed or not, and what it read can be differentiated."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats_kernels import Held, hold, read_held
from mambats_kernels.hold import reference


def drawn(seed, batch, rows, sources, instants=6):
    g = torch.Generator().manual_seed(seed)
    stamps = torch.randint(0, instants, (batch, rows), generator=g)
    source = torch.randint(0, instants, (batch, sources), generator=g).sort(1).values
    mask = torch.rand((batch, sources), generator=g) < 0.6
    return stamps, torch.where(mask, source, -7), mask, torch.rand((batch, rows), generator=g) < 0.5


@given(
    seed=st.integers(0, 999), batch=st.integers(0, 3), rows=st.integers(0, 7), sources=st.integers(0, 8),
    masked=st.booleans(),
)  # fmt: skip
def test_equals_its_definition(seed, batch, rows, sources, masked):
    stamps, source, mask, ties = drawn(seed, batch, rows, sources)
    if not masked:
        source, mask = source.sort(1).values, None
    held = hold(stamps, source, ties=ties, source_mask=mask)
    for given_, expected in zip(held, reference.hold(stamps, source, ties=ties, source_mask=mask), strict=True):
        assert torch.equal(given_, expected)


@given(seed=st.integers(0, 999), lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=4))
def test_packed_equals_each_sequence_alone(seed, lengths):
    pairs = [drawn(seed + k, 1, rows, sources) for k, (rows, sources) in enumerate(lengths)]
    tail = drawn(seed + 99, 1, 2, 3)
    stamps, source, mask, ties = (torch.cat(parts, 1) for parts in zip(*pairs, tail, strict=True))
    cu, source_cu = (torch.tensor([0, *(n[side] for n in lengths)]).cumsum(0) for side in (0, 1))
    held = hold(stamps, source, ties=ties, source_mask=mask, cu_seqlens=cu, source_cu_seqlens=source_cu)
    assert not held.found[:, cu[-1] :].any()
    for k, (t, s, m, first) in enumerate(pairs):
        alone = hold(t, s, ties=first, source_mask=m)
        mine = Held(*(v[:, cu[k] : cu[k + 1]] for v in held))
        assert torch.equal(mine.found, alone.found) and torch.equal(mine.age, alone.age)
        assert torch.equal(mine.place[mine.found], (alone.place + source_cu[k])[alone.found])


def test_reads_values_and_zeros_with_gradients():
    stamps, source, mask, _ = drawn(3, 2, 5, 4)
    held = hold(stamps, source, ties=True, source_mask=mask)
    assert held.found.any() and not held.found.all()
    values = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    expected = torch.gather(values, 1, held.place.unsqueeze(2).expand(-1, -1, 3)) * held.found.unsqueeze(2)
    assert torch.equal(read_held(values, held), expected)
    assert torch.autograd.gradcheck(lambda v: read_held(v, held), values)


def test_ages_of_hours_are_exact_to_the_nanosecond():
    hour = 3_600 * 10**9
    assert hold(torch.tensor([[9 * hour + 1]]), torch.tensor([[0]]), ties=False).age.item() == 9 * hour + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stamps": torch.zeros(2, 3)}, "int64"),
        ({"stamps": torch.zeros(2, dtype=torch.int64)}, "reshape"),
        ({"source_stamps": torch.zeros(1, 3, dtype=torch.int64)}, "batches must match"),
        ({"source_stamps": torch.tensor([[3, 1, 2], [1, 2, 3]])}, "falls at"),
        ({"source_mask": torch.ones(2, 9, dtype=torch.bool)}, "source_mask"),
        ({"ties": torch.ones(2, 9, dtype=torch.bool)}, "ties"),
        ({"cu_seqlens": torch.tensor([0, 3])}, "only one of"),
        ({"cu_seqlens": torch.tensor([0, 3]), "source_cu_seqlens": torch.tensor([0, 3])}, "B = 1"),
    ],
)
def test_refusals(change, message):
    given_ = {"stamps": torch.zeros(2, 3, dtype=torch.int64), "source_stamps": torch.arange(3).expand(2, 3)}
    with pytest.raises(ValueError, match=message):
        hold(**{"ties": False, **given_, **change})


@pytest.mark.gpu
def test_on_a_gpu_without_waiting_for_it():
    stamps, source, mask, ties = (v.cuda() for v in drawn(5, 3, 9, 8))
    values = torch.randn(3, 8, 4, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        held = hold(stamps, source, ties=ties, source_mask=mask)
        read = read_held(values, held)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = hold(stamps.cpu(), source.cpu(), ties=ties.cpu(), source_mask=mask.cpu())
    assert all(torch.equal(a.cpu(), b) for a, b in zip(held, expected, strict=True))
    assert torch.equal(read.cpu(), read_held(values.cpu(), expected))
