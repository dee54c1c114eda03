"""The laws of encoders, as one call that a third party's encoder can be put through."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mambats.protocols import Encoder
from mambats.series.state import map_state
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


def check_encoder(
    build: Callable[[], Encoder],
    *,
    seed: int = 0,
    batch: int = 3,
    rows: int = 11,
    regular: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> None:
    """Put an encoder through every law that holds for it.

    Args:
        build: Makes the encoder; its parameters are drawn after `torch.manual_seed(seed)`.
        seed: Of the parameters and of the sequences.
        batch: Series in a batch, B.
        rows: Rows of a sequence, T.
        regular: The encoder refuses gaps and masks (with a ValueError): hold it to the laws of regular rows.
        dtype: Of parameters and values: float64 holds the laws to 1e-10, float32 to 1e-5.
        device: Where to run.

    Raises:
        AssertionError: Naming the law that is broken.

    Example:
        check_encoder(lambda: CausalEncoder(channels=2, width=8, layers=2))
    """
    torch.manual_seed(seed)
    encoder = build().to(device=device, dtype=dtype).eval()
    shape = (batch, rows, encoder.channels)
    plain = draw_rows(seed, shape, dtype=dtype, device=device, gaps=False)
    timed = draw_rows(seed, shape, dtype=dtype, device=device, gaps=not regular, flags=True)
    holey = draw_rows(seed, shape, dtype=dtype, device=device, flags=True, kept=0.6)
    if regular:
        refuses("gaps and masks", lambda: holey.forward(encoder))
    else:
        check_trivial(encoder, plain)
        check_removed(encoder, holey)
        check_absent_values(encoder, holey)
    check_absent_values(encoder, timed)
    if not encoder.causal:
        check_refusals(encoder, plain)
    for given in (plain, timed) if regular else (plain, timed, holey):
        check_empty(encoder, given)
        check_batch_order(encoder, given)
        check_repeatable(encoder, given)
        # With rows absent, a lookahead of L counts L rows that are there.
        if encoder.lookahead is not None and (encoder.causal or given.mask is None):
            check_lookahead(encoder, given, encoder.lookahead)
        if encoder.causal:
            check_chunks(encoder, given, [0, 1, 1, rows // 2])
            check_steps(encoder, given)
            check_state(encoder, given)
            check_state_gradients(encoder, given)


def check_trivial(encoder: Encoder, plain: Rows) -> None:
    """Demand that gaps of 1, everything observed and everything kept is the same as saying nothing.

    Raises:
        AssertionError: If an output differs.
    """
    whole, _ = plain.forward(encoder)
    ones = plain.x.new_ones(plain.x.shape[:2])
    said = Rows(plain.x, ones, torch.ones_like(plain.x, dtype=torch.bool), ones.bool())
    y, _ = said.forward(encoder)
    agree("gaps of 1, all observed, all kept == none given", y, whole)
    first = ones.clone()
    first[:, :1] = 7
    y, _ = Rows(plain.x, first).forward(encoder)
    agree("the first gap of a fresh state is 1, whatever is given", y, whole)


def check_removed(encoder: Encoder, holey: Rows) -> None:
    """Demand that masked rows are as good as cut out, gaps merged, and that their outputs are zero.

    Args:
        encoder: Any encoder.
        holey: Rows with gaps and a mask.

    Raises:
        AssertionError: If an output or a layer's state differs.
    """
    y, state = holey.forward(encoder)
    mask, gaps = holey.mask, holey.gaps
    if mask is None or gaps is None:
        raise ValueError("check_removed was given rows without gaps or mask: need both. Draw them with kept=0.6.")
    require("outputs at removed rows are zero", not y[~mask].any(), "one is not")
    for b in range(len(mask)):
        keep = mask[b]
        cut = Rows(
            holey.x[b : b + 1, keep],
            merge_by_hand(gaps[b], keep),
            None if holey.observed is None else holey.observed[b : b + 1, keep],
        )
        alone, final = cut.forward(encoder)
        agree("masked == removed", y[b : b + 1, keep], alone)
        if final is not None:
            mine = map_state(state, lambda v, b=b: v[b : b + 1])
            agree_states("masked == removed, in the layers' state", mine[1:], final[1:])


def merge_by_hand(gaps: Tensor, keep: Tensor) -> Tensor:
    """Add each removed row's gap to the next kept one's, one row at a time: (T,) to (1, kept)."""
    merged, pending = list[Tensor](), gaps.new_zeros(())
    for gap, kept in zip(gaps, keep.tolist(), strict=True):
        pending = pending + gap
        if kept:
            merged.append(pending)
            pending = gaps.new_zeros(())
    return torch.stack(merged).unsqueeze(0) if merged else gaps.new_zeros(1, 0)


def check_absent_values(encoder: Encoder, holey: Rows) -> None:
    """Demand that values which were not observed reach neither outputs nor gradients, were they NaN.

    Raises:
        AssertionError: If they do.
    """
    expected, _ = holey.forward(encoder)
    absent = torch.zeros_like(holey.x, dtype=torch.bool)
    absent = absent if holey.mask is None else absent | ~holey.mask.unsqueeze(-1)
    absent = absent if holey.observed is None else absent | ~holey.observed
    spoilt = Rows(holey.x.masked_fill(absent, float("nan")), holey.gaps, holey.observed, holey.mask)
    y, _ = spoilt.forward(encoder)
    agree("absent values are not read", y, expected)
    y.sum().backward()
    finite = all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in encoder.parameters())
    encoder.zero_grad()
    require("absent values do not reach gradients", finite, "a gradient is not finite")


def check_refusals(encoder: Encoder, plain: Rows) -> None:
    """Demand that a non-causal encoder returns state None, refuses one, and refuses `step`.

    Raises:
        AssertionError: If it does not.
    """
    _, state = plain.forward(encoder)
    require("a non-causal encoder has no state", state is None, f"got {type(state).__name__}")
    refuses("a state", lambda: plain.forward(encoder, (plain.x,)))
    refuses("step", lambda: plain.step(encoder, 0, None))


def refuses(what: str, call: Callable[[], object]) -> None:
    """Demand that a call raises a ValueError.

    Raises:
        AssertionError: If it does not.
    """
    try:
        call()
    except ValueError:
        return
    raise AssertionError(f"the encoder refuses {what}: it took it. Raise a ValueError that says why.")
