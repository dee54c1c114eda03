"""Packing and the clock, against loops that are too simple to be wrong."""

import torch

from mambats.encoders.compact import Clock, Packing, split_borders
from mambats.testing.encoder import merge_by_hand


def test_packing_moves_kept_rows_to_the_front_and_back():
    mask = torch.tensor([[True, False, True], [False, False, False], [False, True, True]])
    rows = torch.arange(1.0, 10).reshape(3, 3, 1)
    packing = Packing.of(mask)
    packed = packing.pack(rows)
    assert packed.flatten().tolist()[:4] == [1, 3, 8, 9]
    assert sorted(packed.flatten().tolist()) == rows.flatten().tolist()
    assert packing.cu_seqlens.tolist() == [0, 2, 2, 4]
    assert packing.unpack(packed)[..., 0].tolist() == [[1, 0, 3], [0, 0, 0], [0, 8, 9]]


def test_packing_nothing():
    for shape in ((0, 4), (3, 0)):
        packing = Packing.of(torch.ones(shape, dtype=torch.bool))
        assert packing.unpack(packing.pack(torch.ones(*shape, 2))).shape == (*shape, 2)
        assert packing.cu_seqlens.tolist() == [0] * (shape[0] + 1)


def test_gaps_of_removed_rows_go_to_the_next_kept_one():
    gaps = torch.tensor([[5.0, 2, 3, 4, 1], [5.0, 2, 3, 4, 1]])
    mask = torch.tensor([[True, False, True, True, False], [False, False, False, True, True]])
    merged, clock = Clock.start(2, gaps).run(gaps, mask)
    # Series 0 starts with gap 1 by contract; series 1 has its first kept row at the fourth, so that gap is 1 too.
    assert merged[mask].tolist() == [1, 5, 4, 1, 1]
    assert clock.pending.tolist() == [1, 0] and clock.fresh.tolist() == [False, False]
    merged, clock = clock.run(gaps[:, :2], torch.tensor([[False, True], [False, False]]))
    assert merged[0, 1] == 1 + 5 + 2 and clock.pending.tolist() == [0, 7]
    assert merge_by_hand(gaps[0], mask[0]).tolist() == [[5, 5, 4]]


def test_a_series_without_rows_stays_fresh():
    clock = Clock.start(1, torch.ones(()))
    for mask in (torch.zeros(1, 3, dtype=torch.bool), torch.zeros(1, 0, dtype=torch.bool)):
        _, clock = clock.run(torch.full(mask.shape, 9.0), mask)
    assert clock.fresh.item() and clock.pending.item() == 0
    gap, clock = clock.tick(torch.tensor([9.0]), None)
    assert gap.item() == 1 and not clock.fresh.item()


def test_short_gaps_survive_late_in_a_long_recording():
    gaps = torch.full((1, 20_000), 1.0)
    gaps[0, -1] = 1e-3
    mask = torch.rand(1, 20_000) < 0.5
    mask[0, -2:] = True
    merged, _ = Clock.start(1, gaps).run(gaps * 97, mask)
    torch.testing.assert_close(merged[0, -1].item(), 0.097, rtol=1e-6, atol=0)


def test_borders_are_cut_into_blocks_of_kept_tokens():
    assert split_borders(torch.tensor([0, 5, 5, 7]), 2, 5).tolist() == [0, 2, 4, 5, 5, 5, 5, 7, 7, 7]
    assert split_borders(torch.tensor([0, 0]), 3, 0).tolist() == [0]
