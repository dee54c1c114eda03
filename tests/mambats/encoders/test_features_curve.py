"""Curves are bijections, exact at any depth, and Hilbert's walks from neighbour to neighbour."""

from __future__ import annotations

import pytest
import torch

from mambats.encoders.features import (
    ORDERS,
    encode_cells,
    hilbert_decode,
    hilbert_encode,
    morton_decode,
    morton_encode,
)

SIZES = [(1, 5), (2, 1), (2, 4), (2, 31), (3, 1), (3, 3), (3, 21), (4, 15)]


def every_cell(axes: int, bits: int) -> torch.Tensor:
    sides = torch.meshgrid(*[torch.arange(2**bits)] * axes, indexing="ij")
    return torch.stack(sides, -1).reshape(-1, axes)


def some_cells(axes: int, bits: int) -> torch.Tensor:
    ends = torch.tensor([[0] * axes, [2**bits - 1] * axes])
    return torch.cat([ends, torch.randint(0, 2**bits, (50, axes))])


def morton_bit_by_bit(cell: list[int], bits: int) -> int:
    code = 0
    for bit in reversed(range(bits)):
        for side in cell:
            code = 2 * code + (side >> bit & 1)
    return code


def hilbert_bit_by_bit(cell: list[int], bits: int) -> int:
    """Walk down the levels of one cell with whole numbers of any size, turning the frame of the cubes below."""
    sides, levels = list(cell), []
    for bit in reversed(range(bits)):
        low = 2**bit - 1
        corner = [side >> bit & 1 for side in sides]
        for axis, far in enumerate(corner):
            if far:
                sides[0] ^= low
            else:
                swapped = (sides[0] ^ sides[axis]) & low
                sides[0] ^= swapped
                sides[axis] ^= swapped
        levels.append(corner)
    code, turned = 0, 0
    for corner in levels:  # each corner's place among its 2^n is its Gray code, counted from where the walk stands
        for far in corner:
            turned ^= far
            code = 2 * code + turned
    return code


def hilbert_in_a_square(x: int, y: int, side: int) -> int:
    """The textbook's loop for two axes: quadrants in turn, each one mirrored."""
    code, half = 0, side // 2
    while half:
        right, up = int(x & half > 0), int(y & half > 0)
        code += half * half * ((3 * right) ^ up)
        if not up:
            if right:
                x, y = side - 1 - x, side - 1 - y
            x, y = y, x
        half //= 2
    return code


@pytest.mark.parametrize(("axes", "bits"), SIZES)
def test_hilbert_codes_are_those_found_bit_by_bit(axes: int, bits: int) -> None:
    cells = some_cells(axes, bits)
    assert hilbert_encode(cells, bits).tolist() == [hilbert_bit_by_bit(cell, bits) for cell in cells.tolist()]


@pytest.mark.parametrize("bits", [1, 2, 5, 6])
def test_in_two_axes_it_is_the_textbook_curve(bits: int) -> None:
    cells = every_cell(2, bits)
    known = [hilbert_in_a_square(x, y, 2**bits) for x, y in cells.tolist()]
    mirrored = [hilbert_in_a_square(y, x, 2**bits) for x, y in cells.tolist()]
    assert hilbert_encode(cells, bits).tolist() in (known, mirrored)


@pytest.mark.parametrize(("axes", "bits"), SIZES)
def test_morton_codes_are_those_found_bit_by_bit(axes: int, bits: int) -> None:
    cells = some_cells(axes, bits)
    assert morton_encode(cells, bits).tolist() == [morton_bit_by_bit(cell, bits) for cell in cells.tolist()]


@pytest.mark.parametrize(("axes", "bits"), SIZES)
@pytest.mark.parametrize(("encode", "decode"), [(morton_encode, morton_decode), (hilbert_encode, hilbert_decode)])
def test_cells_come_back_from_their_codes(encode, decode, axes: int, bits: int) -> None:
    cells = some_cells(axes, bits)
    codes = encode(cells, bits)
    assert codes.min() >= 0
    assert torch.equal(decode(codes, axes, bits), cells)


@pytest.mark.parametrize(("axes", "bits"), [(1, 5), (2, 1), (2, 5), (3, 1), (3, 4), (4, 3)])
def test_hilbert_walks_through_every_cell_from_neighbour_to_neighbour(axes: int, bits: int) -> None:
    cells = every_cell(axes, bits)
    order = hilbert_encode(cells, bits).argsort()
    assert torch.equal(hilbert_encode(cells, bits).sort().values, torch.arange(len(cells)))
    assert (cells[order].diff(dim=0).abs().sum(-1) == 1).all()


@pytest.mark.parametrize("axes", [2, 3])
def test_hilbert_fills_each_cube_before_it_leaves_it(axes: int) -> None:
    bits = 4
    cells = every_cell(axes, bits)
    codes = hilbert_encode(cells, bits)
    for level in range(1, bits):
        cubes = hilbert_encode(cells, bits) >> axes * level
        owners = morton_encode(cells >> level, bits - level)
        pairs = torch.stack([cubes, owners], -1).unique(dim=0)
        assert len(pairs) == 2 ** (axes * (bits - level)) == len(codes) >> axes * level


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_a_line_through_all_cells(order: str) -> None:
    cells = every_cell(3, 3)
    codes = encode_cells(cells.view(8, 64, 3), 3, order)
    assert codes.shape == (8, 64)
    assert torch.equal(codes.flatten().sort().values, torch.arange(512))
    swapped = encode_cells(cells[:, [1, 0, 2]], 3, order.removesuffix("_yx"))
    assert order.endswith("_yx") == torch.equal(swapped, codes.flatten())


def test_no_cells_have_no_codes() -> None:
    assert hilbert_encode(torch.zeros(0, 3, dtype=torch.int64), 4).shape == (0,)
    assert morton_encode(torch.zeros(2, 0, 3, dtype=torch.int64), 4).shape == (2, 0)


def test_what_has_no_code_is_refused() -> None:
    cells = torch.zeros(4, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="3 axes of 22 bits make codes of 66 bits"):
        hilbert_encode(cells, 22)
    with pytest.raises(ValueError, match=r"dtype torch.float32: need torch.int64"):
        morton_encode(cells.float(), 4)
    with pytest.raises(ValueError, match="order is 'peano': choose of hilbert"):
        encode_cells(cells, 4, "peano")


@pytest.mark.gpu
def test_codes_are_the_same_on_a_gpu() -> None:
    cells = some_cells(3, 21)
    for order in ORDERS:
        assert torch.equal(encode_cells(cells.cuda(), 21, order).cpu(), encode_cells(cells, 21, order))
