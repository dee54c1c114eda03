"""Laws of everything that reads a sequence and carries a state, mixers and encoders alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from mambats.protocols import Encoder, Mixer
from mambats.series.state import flatten_state, map_state, restore_state
from mambats.testing.compare import agree, require
from mambats.testing.rows import Rows, draw_rows


def agree_states(law: str, given: Any, expected: Any) -> None:
    """Demand that two states have the same form and the same values.

    Raises:
        AssertionError: If they have not.
    """
    left, right = flatten_state(given), flatten_state(expected)
    require(law, left.keys() == right.keys(), f"states hold {sorted(left)} and {sorted(right)}")
    for name, leaf in right.items():
        agree(f"{law} ({name})", left[name], leaf)


def check_chunks(module: Mixer | Encoder, rows: Rows, cuts: Sequence[int]) -> None:
    """Demand that forward over chunks with carried state equals forward over the whole.

    Args:
        module: A causal encoder, or a mixer.
        rows: The whole sequence.
        cuts: Rows at which a new chunk starts, rising; equal neighbours make a chunk without rows.

    Raises:
        AssertionError: If outputs or final states differ.
    """
    whole, final = rows.forward(module)
    state, parts = None, list[Tensor]()
    for start, stop in zip([0, *cuts], [*cuts, rows.x.shape[1]], strict=True):
        y, state = rows.span(start, stop).forward(module, state)
        parts.append(y)
    agree(f"chunks at {list(cuts)} == whole", torch.cat(parts, 1), whole)
    agree_states(f"state after chunks at {list(cuts)} == state after the whole", state, final)
    y, _ = rows.forward(module, module.init_state(rows.x.shape[0]))
    agree("forward from init_state == forward from no state", y, whole)


def check_steps(module: Mixer | Encoder, rows: Rows) -> None:
    """Demand that step row by row equals forward.

    Raises:
        AssertionError: If outputs or final states differ.
    """
    whole, final = rows.forward(module)
    state, parts = module.init_state(rows.x.shape[0]), list[Tensor]()
    for t in range(rows.x.shape[1]):
        y, state = rows.step(module, t, state)
        parts.append(y)
    if parts:
        agree("steps == forward", torch.stack(parts, 1), whole)
    agree_states("state after steps == state after forward", state, final)


def check_lookahead(module: Mixer | Encoder, rows: Rows, lookahead: int = 0) -> None:
    """Demand that outputs up to row t do not change when anything after row t + lookahead changes.

    Every t is tried, so a leak of a single row at a single place is found; values, gaps, flags and mask change.

    Raises:
        AssertionError: Naming the first row whose output saw the future.
    """
    batch, length, channels = rows.x.shape
    whole, _ = rows.forward(module)
    shape = (batch, length, channels)
    other = draw_rows(length + 1, shape, dtype=rows.x.dtype, device=rows.x.device, flags=True, kept=0.5)
    for t in range(length - lookahead - 1):
        cut = t + lookahead + 1
        changed = Rows(
            torch.cat([rows.x[:, :cut], 10 * other.x[:, cut:] + 3], 1),
            *(
                None if a is None or b is None else torch.cat([a[:, :cut], b[:, cut:]], 1)
                for a, b in ((rows.gaps, other.gaps), (rows.observed, other.observed), (rows.mask, other.mask))
            ),
        )
        y, _ = changed.forward(module)
        agree(f"row {t} sees nothing after row {cut - 1}", y[:, : t + 1], whole[:, : t + 1])


def check_batch_order(module: Mixer | Encoder, rows: Rows) -> None:
    """Demand that series do not see each other: a permuted batch gives permuted outputs, one alone the same.

    Raises:
        AssertionError: If an output depends on its neighbours in the batch.
    """
    whole, final = rows.forward(module)
    order = torch.arange(rows.x.shape[0], device=rows.x.device).flip(0)
    y, state = rows.each(lambda v: v[order]).forward(module)
    agree("batch order does not matter", y, whole[order])
    if final is not None:
        agree_states("batch order does not matter to the state", state, map_state(final, lambda v: v[order]))
    alone, _ = rows.each(lambda v: v[:1]).forward(module)
    agree("a series alone == in a batch", alone, whole[:1])


def check_state(module: Mixer | Encoder, rows: Rows) -> None:
    """Demand that a state is a batch-first tree of tensors that survives a copy and a safetensors file.

    Raises:
        AssertionError: If it is not, or the run does not go on with the same numbers.
    """
    batch, half = rows.x.shape[0], rows.x.shape[1] // 2
    rest = rows.span(half)
    _, state = rows.span(0, half).forward(module)
    leaves = flatten_state(state)
    for name, leaf in leaves.items():
        require("state is batch first", leaf.shape[:1] == (batch,), f"{name} has shape {tuple(leaf.shape)}")
    start = flatten_state(module.init_state(batch))
    require(
        "init_state has the form of a carried state",
        {k: (v.shape, v.dtype) for k, v in start.items()} == {k: (v.shape, v.dtype) for k, v in leaves.items()},
        f"{ {k: tuple(v.shape) for k, v in start.items()} } and { {k: tuple(v.shape) for k, v in leaves.items()} }",
    )
    kept = map_state(state, torch.clone)
    expected, _ = rest.forward(module, state)
    agree_states("a run leaves the state it was given alone", state, kept)
    file = save({name: leaf.detach().cpu().contiguous() for name, leaf in leaves.items()})
    loaded = {name: leaf.to(rows.x.device) for name, leaf in load(file).items()}
    y, _ = rest.forward(module, restore_state(state, loaded))
    require("a run goes on bit-equal from a saved state", torch.equal(y, expected), "outputs differ")


def weigh(y: Tensor) -> Tensor:
    """Sum the entries with weights of all signs; a plain sum of squares of normalised tokens is constant."""
    weight = torch.arange(y.numel(), device=y.device, dtype=y.dtype).cos().view(y.shape)
    return (y * weight).sum()


def check_state_gradients(module: Mixer | Encoder, rows: Rows) -> None:
    """Demand that gradients pass through a carried state: in at its end, out at its start.

    Raises:
        AssertionError: If gradients of a chunked run differ from those of the whole.
    """
    half = rows.x.shape[1] // 2

    def gradient(cuts: list[int]) -> Tensor:
        x = rows.x.detach().clone().requires_grad_()
        run, state, y = Rows(x, rows.gaps, rows.observed, rows.mask), None, rows.x.sum()
        for start, stop in zip([0, *cuts], [*cuts, None], strict=True):
            y, state = run.span(start, stop).forward(module, state)
        leaves = [leaf for leaf in flatten_state(state).values() if leaf.dtype.is_floating_point]
        # Only the last chunk's output and the final state count: the first chunk is reached through the state alone.
        loss = weigh(y[:, y.shape[1] - (rows.x.shape[1] - half) :]) + sum(weigh(leaf) for leaf in leaves)
        return torch.autograd.grad(loss, x)[0]

    # Gradients add up more roundings than outputs: ten times the tolerance.
    agree("gradients through the carried state == of the whole", gradient([half]), gradient([]), slack=10)


def check_repeatable(module: Mixer | Encoder, rows: Rows) -> None:
    """Demand that two runs are bit-equal, outputs and gradients, under deterministic algorithms.

    Raises:
        AssertionError: If a bit differs.
    """

    def once() -> list[Tensor]:
        module.zero_grad()
        y, _ = rows.forward(module)
        weigh(y).backward()
        return [y.detach(), *(p.grad.clone() for p in module.parameters() if p.grad is not None)]

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        same = all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))
    finally:
        torch.use_deterministic_algorithms(before)
        module.zero_grad()
    require("two runs are bit-equal", same, "an output or a gradient differs")


def check_empty(module: Mixer | Encoder, rows: Rows) -> None:
    """Demand the right answer to no rows and to no series.

    Raises:
        AssertionError: If shapes are wrong.
    """
    for none in (rows.span(0, 0), rows.each(lambda v: v[:0])):
        y, _ = none.forward(module)
        need = (*none.x.shape[:2], module.width)
        require("no rows, no series", y.shape == need, f"got {tuple(y.shape)}, need {need}")
