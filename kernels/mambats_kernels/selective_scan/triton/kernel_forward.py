"""h = exp(span A) h + weight x B, y = (C h + D x) silu(z): a program walks D channels of a row, T tokens at a time."""

# Triton's language, not Python's: its values have no types that could be written here.
# ruff: noqa: ANN001, ANN201
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl

from mambats_kernels.selective_scan.triton.kernel_number import LOG2E, logistic, tail
from mambats_kernels.selective_scan.triton.kernel_tile import (
    advance,
    fetch,
    load_channel,
    load_state,
    locate,
    pick,
    reach,
    spots,
    step_size,
)


@triton.jit
def finish(states, c, x, skip, z):
    """Give the output (T, D): C h, the skip, the gate; `z` is None where there is none."""
    out = tl.sum(states * c[:, :, None], axis=1) + skip[None, :] * x
    if z is not None:
        out *= z * logistic(z, tail(z))
    return out


@triton.jit(do_not_specialize=["tokens"])  # a 1 would become a constant, which no loop can count with
def forward(
    x, dt, A, B, C, D, z, bias, gaps, initial, borders, y, final, saved, tokens,
    WIDTH: tl.constexpr, GROUPS: tl.constexpr, STATES: tl.constexpr,
    SOFTPLUS: tl.constexpr, HOLD: tl.constexpr, REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Walk a tile of channels through one row, and keep the state before every T tokens where there is room for it."""
    SIGN: tl.constexpr = -1 if REVERSE else 1
    row, group, _tile, channel, known = locate(WIDTH, GROUPS, BLOCK_D)
    first, length, save_at = reach(borders, row, tokens, BLOCK_T)
    begin = first + length - 1 if REVERSE else first
    step, n = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_N)
    known_state = (n < STATES)[:, None] & known[None, :]
    state, kept = spots(channel, n, WIDTH, STATES)
    a = tl.load(A + state, mask=known_state, other=0.0).to(tl.float32) * LOG2E
    skip, shift = load_channel(D, channel, known), load_channel(bias, channel, known)
    h = load_state(initial, row * (WIDTH * STATES) + state, known_state)
    channels = SIGN * step[:, None] * WIDTH + channel[None, :]
    weights = SIGN * step[:, None] * (GROUPS * STATES) + group * STATES + n[None, :]
    sources, offsets = (x, dt, z, B, C, gaps), (step, channels, weights, known, n < STATES)
    keep = save_at * (WIDTH * STATES)
    next_x, next_dt, next_z, next_b, next_c, next_gap = fetch(
        sources, offsets, begin, length, 0, WIDTH, GROUPS * STATES, REVERSE
    )
    walked = length * 0
    while walked < length:
        x_tile, dt_tile, z_tile, b, c, gap = next_x, next_dt, next_z, next_b, next_c, next_gap
        token, left = begin + SIGN * walked.to(tl.int64), length - walked
        # The next tile is on its way while this one is computed: 0.365 -> 0.332 ms at (8, 2048, 1536, 16) on an H100.
        next_x, next_dt, next_z, next_b, next_c, next_gap = fetch(
            sources, offsets, token + SIGN * BLOCK_T, left - BLOCK_T, walked + BLOCK_T, WIDTH, GROUPS * STATES, REVERSE
        )
        if saved is not None:
            tl.store(saved + keep + kept, h, known_state)
            keep += WIDTH * STATES
        alive = (step < left)[:, None] & known[None, :]
        delta, _slope = step_size(dt_tile, shift, alive, SOFTPLUS)
        span = delta if gaps is None else delta * gap
        grown, weight = advance(delta, span, a, HOLD)
        states = weight * x_tile[:, None, :] * b[:, :, None]
        for t in tl.static_range(BLOCK_T):
            there = step[:, None, None] == t
            h = pick(grown, there) * h + pick(states, there)
            states = tl.where(there, h[None, :, :], states)
        out = finish(states, c, x_tile, skip, None if z is None else z_tile)
        tl.store(y + token * WIDTH + channels, out.to(y.dtype.element_ty), alive)
        walked += BLOCK_T
    tl.store(final + row * (WIDTH * STATES) + state, h, known_state)
