"""h = exp(span A) h + weight x B, y = (C h + D x) silu(z): a program walks D channels of a row, T tokens at a time."""

# Triton's language, not Python's: its values have no types that could be written here.
# ruff: noqa: ANN001, ANN201
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl

from mambats_kernels.selective_scan.triton.number import LN2, LOG2E, logistic, phi, tail
from mambats_kernels.selective_scan.triton.tile import (
    load_channel,
    load_gaps,
    load_state,
    pick,
    place,
    reach,
    saved_tile,
    step_size,
)


@triton.jit
def fetch(x, dt, z, B, C, gaps, channels, weights, at, first_weight, token, step, left, walked,
          in_channels, in_weights, REVERSE: tl.constexpr):  # fmt: skip
    """Load what a tile needs, as it is stored; x stands in for a gate that is not there."""
    x_tile = tl.load(x + at + channels, mask=in_channels, other=0.0)
    dt_tile = tl.load(dt + at + channels, mask=in_channels, other=0.0)
    z_tile = x_tile
    if z is not None:
        z_tile = tl.load(z + at + channels, mask=in_channels, other=0.0)
    b = tl.load(B + first_weight + weights, mask=in_weights, other=0.0)
    c = tl.load(C + first_weight + weights, mask=in_weights, other=0.0)
    gap = load_gaps(gaps, token, step, left, walked, REVERSE)
    return x_tile, dt_tile, z_tile, b, c, gap


@triton.jit
def weigh(x, delta, span, a, grown, b, HOLD: tl.constexpr):
    """Give what enters the state (T, N, D): delta x B for events, expm1(span A) / A x B for held inputs."""
    if HOLD:
        held = phi(span[:, None, :] * a[None, :, :] * LN2, grown)
        return held * (span * x)[:, None, :] * b[:, :, None]
    else:
        return (delta * x)[:, None, :] * b[:, :, None]


@triton.jit
def forward(
    x, dt, A, B, C, D, z, bias, gaps, initial, borders, y, final, saved, tokens,
    WIDTH: tl.constexpr, GROUPS: tl.constexpr, STATES: tl.constexpr,
    SOFTPLUS: tl.constexpr, HOLD: tl.constexpr, REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Walk a tile of channels through one row, and keep the state before every T tokens where there is room for it."""
    SHARE: tl.constexpr = WIDTH // GROUPS
    TILES: tl.constexpr = (SHARE + BLOCK_D - 1) // BLOCK_D
    SIGN: tl.constexpr = -1 if REVERSE else 1
    row = tl.program_id(0) // (GROUPS * TILES)
    group = tl.program_id(0) // TILES % GROUPS
    step, n, within = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    within += tl.program_id(0) % TILES * BLOCK_D
    channel = group * SHARE + within
    known, known_n = within < SHARE, n < STATES
    known_state = known_n[:, None] & known[None, :]
    first, length = reach(borders, row, tokens)
    begin = first + length - 1 if REVERSE else first
    state = channel[None, :] * STATES + n[:, None]
    a = tl.load(A + state, mask=known_state, other=0.0).to(tl.float32) * LOG2E
    skip, shift = load_channel(D, channel, known), load_channel(bias, channel, known)
    h = load_state(initial, row.to(tl.int64) * WIDTH * STATES, state, known_state)
    channels = SIGN * step[:, None] * WIDTH + channel[None, :]
    weights = SIGN * step[:, None] * (GROUPS * STATES) + group * STATES + n[None, :]
    save_at = saved_tile(borders, row, tokens, first, BLOCK_T)
    steps = tl.cdiv(length, BLOCK_T)
    next_x, next_dt, next_z, next_b, next_c, next_gap = fetch(
        x, dt, z, B, C, gaps, channels, weights, begin * WIDTH, begin * (GROUPS * STATES), begin, step, length, 0,
        (step < length)[:, None] & known[None, :], (step < length)[:, None] & known_n[None, :], REVERSE,
    )  # fmt: skip
    i = steps * 0  # a while, since triton 3.6's interpreter cannot count to a tensor with numpy 2.4
    while i < steps:
        x_tile, dt_tile, z_tile = next_x.to(tl.float32), next_dt, next_z.to(tl.float32)
        b, c, gap = next_b.to(tl.float32), next_c.to(tl.float32), next_gap
        alive = (step < length - i * BLOCK_T)[:, None] & known[None, :]
        at = begin + SIGN * (i * BLOCK_T).to(tl.int64)
        # The next tile is on its way while this one is computed: 0.365 -> 0.332 ms at (8, 2048, 1536, 16) on an H100.
        ahead = (i + 1) * BLOCK_T
        left = length - ahead
        token = begin + SIGN * ahead.to(tl.int64)
        next_x, next_dt, next_z, next_b, next_c, next_gap = fetch(
            x, dt, z, B, C, gaps, channels, weights, token * WIDTH, token * (GROUPS * STATES), token, step, left, ahead,
            (step < left)[:, None] & known[None, :], (step < left)[:, None] & known_n[None, :], REVERSE,
        )  # fmt: skip
        if saved is not None:
            tl.store(saved + (save_at + i) * (WIDTH * STATES) + n[:, None] * WIDTH + channel[None, :], h, known_state)
        delta, _ = step_size(dt_tile, shift, alive, SOFTPLUS)
        span = delta if gaps is None else delta * gap[:, None]
        grown = tl.exp2(span[:, None, :] * a[None, :, :])
        states = weigh(x_tile, delta, span, a, grown, b, HOLD)
        for t in tl.static_range(BLOCK_T):
            h = pick(grown, step, t) * h + pick(states, step, t)
            states = place(states, step, t, h)
        out = tl.sum(states * c[:, :, None], axis=1)
        if D is not None:
            out += skip[None, :] * x_tile
        if z is not None:
            out *= z_tile * logistic(z_tile, tail(z_tile))
        tl.store(y + at * WIDTH + channels, out.to(y.dtype.element_ty), alive)
        i += 1
    tl.store(final + row.to(tl.int64) * WIDTH * STATES + state, h, known_state)
