"""Tables of objects: any order, any padding, any subset of columns; no object is a table too."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mambats.encoders.features import ObjectEncoder
from mambats.series import SensorRows

CHANNELS = ("x", "y", "z", "vx", "vy", "vz", "l", "w", "h", "yaw", "score", "class", "track", "a0", "a1", "a2")
PARTS = ("position", "velocity", "size", "yaw", "score", "class", "identity", "appearance")


def build(parts: tuple[str, ...] | None = None) -> ObjectEncoder:
    torch.manual_seed(1)
    return ObjectEncoder(CHANNELS, 8, parts, classes=5).double()


def tables(*axes: int) -> Tensor:
    made = torch.randn(*axes, len(CHANNELS), dtype=torch.float64) * 3
    made[..., 6:9] = made[..., 6:9].abs() + 0.5
    made[..., 11:13] = torch.randint(0, 5, (*axes, 2)).double()
    return made


def test_padding_company_and_order_change_nothing() -> None:
    model, table, counts = build(), tables(4, 7), torch.tensor([7, 0, 3, 1])
    table[2, 3:] = torch.nan
    made = model.tokens(table, counts)
    assert made.pooled.isfinite().all()
    assert made.objects[2, 3:].eq(0).all()
    for row, count in enumerate(counts.tolist()):
        alone = model.tokens(table[row, :count])
        torch.testing.assert_close(alone.pooled, made.pooled[row], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(alone.objects, made.objects[row, :count], rtol=1e-10, atol=1e-10)
    shuffle = torch.randperm(7)
    again = model.tokens(table[:1, shuffle])
    torch.testing.assert_close(again.pooled, made.pooled[:1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(again.objects, made.objects[:1, shuffle], rtol=1e-10, atol=1e-10)


def test_queries_look_single_objects_up() -> None:
    model, table = build(), tables(1, 5)
    with torch.no_grad():
        model.weigh.weight.copy_(torch.randn_like(model.weigh.weight) * 1e4)
        there = torch.ones(1, 5, dtype=torch.bool)
        found = model._look_up(model.tokens(table).objects, there).view(4, 8)
    nearest = torch.cdist(found, model.tokens(table).objects[0]).amin(1)
    torch.testing.assert_close(nearest, torch.zeros_like(nearest), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="queries 0"):
        ObjectEncoder(CHANNELS, 8, queries=0)


def test_a_mask_takes_objects_away() -> None:
    model, table = build(), tables(1, 5)
    mask = torch.tensor([[True, False, True, True, False]])
    made = model.tokens(table, mask=mask)
    torch.testing.assert_close(made.pooled, model(table[mask][None]), rtol=1e-10, atol=1e-10)
    fewer = model.tokens(table, torch.tensor([3]), mask)
    torch.testing.assert_close(fewer.pooled, model(table[:, [0, 2]]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_read_and_can_be_left_out(part: str) -> None:
    table = tables(1, 4)
    columns = {
        "position": [0, 1, 2], "velocity": [3, 4, 5], "size": [6, 7, 8], "yaw": [9], "score": [10], "class": [11],
        "identity": [12], "appearance": [13, 14, 15],
    }[part]  # fmt: skip
    changed = table.clone()
    changed[..., columns] = tables(1, 4).flip(1)[..., columns] + 1
    alone, without = build((part,)), build(tuple(p for p in PARTS if p != part))
    assert (alone(changed) - alone(table)).abs().max() > 1e-6
    assert torch.equal(without(changed), without(table))


def test_no_objects_no_tables_and_any_leading_axes() -> None:
    model, table = build(), tables(6, 5)
    made = model(table)
    torch.testing.assert_close(model(table.view(2, 3, 5, -1)).view(6, 8), made)
    assert model(table[:0]).shape == (0, 8)
    empty = model.tokens(table[:, :0])
    assert empty.objects.shape == (6, 0, 8)
    torch.testing.assert_close(empty.pooled, model(table, torch.zeros(6, dtype=torch.int64)))


def test_values_that_are_no_numbers_and_unknown_classes_are_stated() -> None:
    model, table = build(), tables(1, 3)
    marred, zeros = table.clone(), table.clone()
    marred[0, 1, 3:6] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    zeros[0, 1, 3:6] = 0
    assert torch.equal(model(marred), model(zeros))
    known, other = table.clone(), table.clone()
    known[..., 11], other[..., 11] = 77, -3
    assert torch.equal(model(known), model(other))
    assert not torch.equal(model(known), model(table))


def test_turns_appearance_and_identities() -> None:
    model, table = build(), tables(1, 3)
    turned, scaled = table.clone(), table.clone()
    turned[..., 9] += 2 * math.pi
    scaled[..., 13:] *= 7
    torch.testing.assert_close(model(turned), model(table), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(scaled), model(table), rtol=1e-9, atol=1e-9)
    codes = build(("identity",))._numbers_of("identity", torch.arange(1000).double()[:, None])
    apart = torch.cdist(codes, codes).fill_diagonal_(9).min() / codes[0].norm()
    assert apart > 0.5


def test_gradients_are_those_of_differences() -> None:
    model, table, counts = build(), tables(2, 3), torch.tensor([3, 1])

    def loss(moving: Tensor) -> Tensor:
        return model(torch.cat([moving, table[..., 11:]], -1), counts).square().sum()

    moving = table[..., :11].clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, moving, fast_mode=True)
    loss(moving).backward()
    assert moving.grad is not None
    assert moving.grad[1, 1:].eq(0).all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_lower_precision_is_near() -> None:
    model, table = build(), tables(3, 4)
    exact = model(table)
    torch.testing.assert_close(model.float()(table.float()).double(), exact, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(table.float())
    torch.testing.assert_close(half.double(), exact, rtol=0.1, atol=0.1)


def test_streams_of_tables_become_streams_of_tokens() -> None:
    model, table, counts = build(), tables(2, 3, 4), torch.tensor([[4, 0, 2], [1, 0, 0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rows = SensorRows(table, mask, torch.ones(2, 3), torch.arange(6).view(2, 3), counts=counts)
    made = model.encode_rows(rows, 9)
    assert made.counts is None
    assert made.values[~mask].eq(0).all()
    assert made.values[0, 1].ne(0).any()  # a table without objects says so
    torch.testing.assert_close(made.values[mask], model(table[mask], counts[mask]))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"parts are \['velocity'\], the columns \('x', 'y', 'z'\) tell \['position'\]"
    ):
        ObjectEncoder(("x", "y", "z"), 8, ("velocity",))
    with pytest.raises(ValueError, match="parts are \\[\\]"):
        ObjectEncoder(("u", "v"), 8)
    with pytest.raises(ValueError, match="reach 0"):
        ObjectEncoder(("x", "y", "z"), 8, reach=0)
    model = build()
    with pytest.raises(ValueError, match=r"need floats of shape \(..., M, 16\)"):
        model(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"counts has shape \(3,\)"):
        model(tables(2, 3), torch.ones(3))
    with pytest.raises(ValueError, match=r"mask has shape \(2,\)"):
        model.tokens(tables(2, 3), mask=torch.ones(2, dtype=torch.bool))


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    model, table, counts = build().float(), tables(3, 4).float(), torch.tensor([4, 0, 2])
    here = model(table, counts)
    torch.testing.assert_close(model.cuda()(table.cuda(), counts.cuda()).cpu(), here, rtol=1e-4, atol=1e-4)
