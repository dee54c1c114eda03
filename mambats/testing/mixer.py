"""The laws of mixers, as one call that a third party's mixer can be put through."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mambats.protocols import Mixer
from mambats.series.state import map_state, merge_states
from mambats.testing.compare import agree, require
from mambats.testing.rows import Rows, draw_rows
from mambats.testing.sequence import (
    agree_states,
    check_batch_order,
    check_chunks,
    check_empty,
    check_lookahead,
    check_repeatable,
    check_state,
    check_state_gradients,
    check_steps,
)


def check_mixer(
    build: Callable[[], Mixer],
    *,
    seed: int = 0,
    batch: int = 3,
    tokens: int = 9,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> None:
    """Put a mixer through every law that holds for it.

    Args:
        build: Makes the mixer; its parameters are drawn after `torch.manual_seed(seed)`.
        seed: Of the parameters and of the sequences.
        batch: Sequences in a batch, B.
        tokens: Tokens of a sequence, T.
        dtype: Of parameters and tokens: float64 holds the laws to 1e-10, float32 to 1e-5.
        device: Where to run.

    Raises:
        AssertionError: Naming the law that is broken.

    Example:
        check_mixer(lambda: MambaSettings().build(8))
    """
    torch.manual_seed(seed)
    mixer = build().to(device=device, dtype=dtype).eval()
    shape = (batch, tokens, mixer.width)
    plain = draw_rows(seed, shape, dtype=dtype, device=device, gaps=False)
    timed = draw_rows(seed, shape, dtype=dtype, device=device)
    check_gaps(mixer, timed)
    for given in (plain,) if mixer.gaps == "refused" else (plain, timed):
        check_chunks(mixer, given, [0, 1, 1, tokens // 2])
        check_steps(mixer, given)
        check_row_mask(mixer, given)
        check_lookahead(mixer, given)
        check_reverse(mixer, given)
        check_packed(mixer, given, [0, tokens // 3, tokens // 3, max(tokens - 2, tokens // 3)])
        check_batch_order(mixer, given)
        check_state(mixer, given)
        check_state_gradients(mixer, given)
        check_repeatable(mixer, given)
        check_empty(mixer, given)
    if mixer.time_invariant and mixer.gaps == "exact":
        check_halved_gaps(mixer)


def check_gaps(mixer: Mixer, timed: Rows) -> None:
    """Demand that gaps count, or are refused: ignoring them silently is a defect.

    Raises:
        AssertionError: If gaps change nothing and no ValueError said so, or gaps of 1 change something.
    """
    regular, _ = mixer(timed.x)
    try:
        y, _ = timed.forward(mixer)
    except ValueError:
        require("a mixer that refuses gaps says so", mixer.gaps == "refused", f"it declares {mixer.gaps!r}")
        return
    require("a mixer that takes gaps says so", mixer.gaps != "refused", "it declares 'refused', and took them")
    require("gaps count", timed.x.shape[1] < 3 or not torch.allclose(y, regular), "random gaps change nothing")
    ones, _ = mixer(timed.x, timed.x.new_ones(timed.x.shape[:2]))
    agree("gaps of 1 == no gaps", ones, regular)


def check_row_mask(mixer: Mixer, rows: Rows) -> None:
    """Demand that `step` leaves masked rows alone: their state stays, their output is zero, others see no difference.

    Raises:
        AssertionError: If a masked row moves.
    """
    if not rows.x.shape[0] or rows.x.shape[1] < 2:
        return
    _, state = rows.span(0, 1).forward(mixer)
    full, moved = rows.step(mixer, 1, state)
    mask = torch.arange(rows.x.shape[0], device=rows.x.device) % 2 == 1
    x_t = rows.x[:, 1].masked_fill(~mask.unsqueeze(-1), 1e3)
    y, after = mixer.step(x_t, None if rows.gaps is None else rows.gaps[:, 1], mask_t=mask, state=state)
    agree("a masked step gives zero", y, full * mask.unsqueeze(-1))
    for name, here in (("stays", ~mask), ("moves on elsewhere", mask)):
        source = state if name == "stays" else moved
        left, right = (map_state(s, lambda v, here=here: v[here]) for s in (after, source))
        agree_states(f"the state of a masked row {name}", left, right)


def check_reverse(mixer: Mixer, rows: Rows) -> None:
    """Demand that `reverse` equals flipping time, with each token's gap taken from its successor, 1 for the last.

    Raises:
        AssertionError: If outputs or final states differ, or a state carried backwards does.
    """
    y, final = mixer(rows.x, rows.gaps, reverse=True)
    gaps = rows.gaps
    if gaps is not None and gaps.shape[1]:
        gaps = torch.cat([torch.ones_like(gaps[:, :1]), gaps[:, 1:].flip(1)], 1)
    flipped, state = mixer(rows.x.flip(1), gaps)
    agree("reverse == flipped", y, flipped.flip(1))
    agree_states("reverse == flipped, in the state", final, state)
    if rows.gaps is None:  # a later chunk knows no gap to what follows it
        half = rows.x.shape[1] // 2
        late, state = mixer(rows.x[:, half:], reverse=True)
        early, state = mixer(rows.x[:, :half], state=state, reverse=True)
        agree("reverse in chunks == whole", torch.cat([early, late], 1), y)
        agree_states("reverse in chunks == whole, in the state", state, final)


def check_packed(mixer: Mixer, rows: Rows, borders: Sequence[int]) -> None:
    """Demand that packed sequences equal each alone, both ways; what lies behind the last border is ignored.

    Args:
        mixer: Any mixer.
        rows: Rows; the first series of the batch is cut into sequences.
        borders: Where sequences begin and end, from 0, non-falling.

    Raises:
        AssertionError: If outputs or final states differ.
    """
    one = rows.each(lambda v: v[:1])
    cu = torch.tensor(borders, device=rows.x.device)
    count = len(borders) - 1
    starts = [mixer(rows.x[-1:, : i + 1])[1] for i in range(count)]
    for reverse in (False, True):
        y, final = mixer(one.x, one.gaps, cu_seqlens=cu, state=stack_states(starts), reverse=reverse)
        for i in range(count):
            part = one.span(borders[i], borders[i + 1])
            alone, state = mixer(part.x, part.gaps, state=starts[i], reverse=reverse)
            agree("packed == alone", y[:, borders[i] : borders[i + 1]], alone)
            mine = map_state(final, lambda v, i=i: v[i : i + 1])
            agree_states("packed == alone, in the state", mine, state)


def stack_states(states: Sequence[Any]) -> Any:
    """Join states of one series each along the batch."""
    return merge_states(states, torch.cat)


def check_halved_gaps(mixer: Mixer, *, tokens: int = 24, order: float = 1.0) -> None:
    """Demand that twice the rate with half the gaps gives the same trajectory, the better the finer.

    Holds for time-invariant dynamics on smooth input: the difference between one rate and twice that rate falls
    by 2 ** order when both double.

    Args:
        mixer: A time-invariant mixer without convolution.
        tokens: Tokens at the coarsest rate.
        order: Order of the discretisation; zero-order hold has 1.

    Raises:
        AssertionError: If differences fall more slowly than the order less 0.2, or are large.
    """
    weight = next(mixer.parameters())
    phase = torch.linspace(0, 2 * math.pi, mixer.width + 1, device=weight.device, dtype=weight.dtype)[:-1]

    def trajectory(rate: int) -> Tensor:
        time = torch.arange(1, tokens * rate + 1, device=weight.device, dtype=weight.dtype) / rate
        x = torch.sin(time.unsqueeze(-1) * (2 * math.pi / tokens) + phase)
        y, _ = mixer(x.unsqueeze(0), torch.full_like(time, 1 / rate).unsqueeze(0))
        return y[:, rate - 1 :: rate]

    one, two, four = (trajectory(rate) for rate in (1, 2, 4))
    coarse, fine = (one - two).abs().max().item(), (two - four).abs().max().item()
    law = "twice the rate with half the gaps"
    require(law, coarse < 0.1 * four.abs().max().item(), f"differs by {coarse:.3g}")
    reached = math.log2(max(coarse, 1e-300) / max(fine, 1e-300))
    require(law, reached > order - 0.2, f"the difference falls with order {reached:.2f}, need {order}")
