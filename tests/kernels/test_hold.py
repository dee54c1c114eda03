"""The hold finds what its definition finds, packed or not, and what it read can be differentiated."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats_kernels import hold, read_held
from mambats_kernels.hold import Held, reference
from mambats_kernels.hold.cases import CASES, arguments


def same(held, expected):
    return all(torch.equal(a, b) for a, b in zip(held, expected, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_every_case_equals_its_definition(case):
    for seed in range(2):
        given_ = CASES[case](seed)
        assert same(hold(**given_), reference.hold(**given_))


@given(
    seed=st.integers(0, 999), batch=st.integers(0, 3), rows=st.integers(0, 7), sources=st.integers(0, 8),
    masked=st.booleans(), instants=st.integers(1, 9),
)  # fmt: skip
def test_equals_its_definition(seed, **sizes):
    given_ = arguments(seed, **sizes)
    assert same(hold(**given_), reference.hold(**given_))


@given(seed=st.integers(0, 999), lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=4))
def test_packed_equals_each_sequence_alone(seed, lengths):
    pairs = [arguments(seed + k, batch=1, rows=rows, sources=n) for k, (rows, n) in enumerate(lengths)]
    every = [*pairs, arguments(seed + 99, batch=1, rows=2, sources=3)]
    packed = {name: torch.cat([part[name] for part in every], 1) for name in every[0]}
    cu, source_cu = (torch.tensor([0, *(n[side] for n in lengths)]).cumsum(0) for side in (0, 1))
    held = hold(**packed, cu_seqlens=cu, source_cu_seqlens=source_cu)
    assert not held.found[:, cu[-1] :].any()
    for k, pair in enumerate(pairs):
        alone = hold(**pair)
        mine = Held(*(v[:, cu[k] : cu[k + 1]] for v in held))
        assert torch.equal(mine.found, alone.found) and torch.equal(mine.age, alone.age)
        assert torch.equal(mine.place[mine.found], (alone.place + source_cu[k])[alone.found])


def test_reads_values_and_zeros_with_gradients():
    held = hold(**arguments(3, rows=5, sources=4))
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
    given_ = arguments(5, "cuda", batch=3)
    values = torch.randn(3, 8, 4, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        held = hold(**given_)
        read = read_held(values, held)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = hold(**arguments(5, batch=3))
    assert same([part.cpu() for part in held], expected)
    assert torch.equal(read.cpu(), read_held(values.cpu(), expected))
