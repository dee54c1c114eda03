"""Trees of tensors are taken apart and put together leaf by leaf."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from mambats.series.state import flatten_state, map_state, merge_states, restore_state


class Layer(NamedTuple):
    conv: Tensor
    ssm: tuple[Tensor, Tensor]


def tree(start: float) -> tuple[Layer, Layer]:
    first, second = (Layer(torch.full((2, 3), start + k), (torch.full((2,), start), torch.zeros(2, 1))) for k in (0, 5))
    return first, second


def test_several_states_become_one_of_the_same_form():
    both = merge_states([tree(1.0), tree(9.0)], torch.cat)
    assert type(both) is tuple and isinstance(both[1], Layer) and type(both[1].ssm) is tuple
    assert both[1].conv.shape == (4, 3) and both[1].conv[:, 0].tolist() == [6.0, 6.0, 14.0, 14.0]
    which = torch.tensor([True, False])
    chosen = merge_states(
        [tree(1.0), tree(9.0)], lambda leaves: torch.where(which.view(-1, *(1,) * (leaves[0].ndim - 1)), *leaves)
    )
    assert chosen[0].conv[:, 0].tolist() == [1.0, 9.0] and chosen[0].ssm[0].tolist() == [1.0, 9.0]
    with pytest.raises(ValueError, match="shorter|longer"):
        merge_states([tree(1.0), tree(1.0)[:1]], torch.cat)


def test_names_and_back():
    leaves = flatten_state(tree(2.0))
    assert list(leaves)[:2] == ["state.0.conv", "state.0.ssm.0"]
    twice = restore_state(tree(0.0), {name: 2 * leaf for name, leaf in leaves.items()})
    other = map_state(tree(2.0), lambda leaf: 2 * leaf)
    assert all(
        torch.equal(a, b) for a, b in zip(flatten_state(twice).values(), flatten_state(other).values(), strict=True)
    )
