"""States as flat dictionaries of tensors, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor


def flatten_state(state: Any, name: str = "state") -> dict[str, Tensor]:
    """Name every tensor of a NamedTuple tree by its path, such as `state.layers.0.ssm`.

    Raises:
        TypeError: If the tree holds anything but tuples and tensors.
    """
    if isinstance(state, Tensor):
        return {name: state}
    if not isinstance(state, tuple):
        raise TypeError(f"{name} is a {type(state).__name__}: a state is a NamedTuple tree of tensors. Use a tensor.")
    fields = getattr(state, "_fields", None) or [str(i) for i in range(len(state))]
    leaves: dict[str, Tensor] = {}
    for field, child in zip(fields, state, strict=True):
        leaves |= flatten_state(child, f"{name}.{field}")
    return leaves


def restore_state(like: Any, leaves: dict[str, Tensor], name: str = "state") -> Any:
    """Build a state of the same form as `like` from the tensors that `flatten_state` named.

    Raises:
        KeyError: If a tensor is missing.
    """
    return rename_state(like, lambda path, _: leaves[path], name)


def map_state(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Build a state of the same form with every tensor changed, such as cloned, moved or indexed."""
    return rename_state(state, lambda _, leaf: change(leaf), "state")


def merge_states(states: Sequence[Any], change: Callable[[list[Tensor]], Tensor]) -> Any:
    """Build a state of the form of several; `change` gets their tensors at each place, to choose from or to join."""
    first = states[0]
    if isinstance(first, Tensor):
        return change(list(states))
    children = [merge_states(each, change) for each in zip(*states, strict=True)]
    return type(first)(*children) if hasattr(first, "_fields") else tuple(children)


def rename_state(state: Any, change: Callable[[str, Tensor], Tensor], name: str) -> Any:
    """Build a state of the same form; `change` gets each tensor with its path."""
    if isinstance(state, Tensor):
        return change(name, state)
    fields = getattr(state, "_fields", None) or [str(i) for i in range(len(state))]
    children = [rename_state(child, change, f"{name}.{f}") for f, child in zip(fields, state, strict=True)]
    return type(state)(*children) if hasattr(state, "_fields") else tuple(children)
