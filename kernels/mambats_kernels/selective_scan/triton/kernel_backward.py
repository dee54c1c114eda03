"""Gradients of the scan: one program walks D channels of one row back from its end, T tokens at a time.

States and decays of a tile are computed again from the state saved before it, then g = exp(span A) g' + C dy walks
back. Sums over channels leave as partial sums of the program; `kernel_sum` adds them in a fixed order.
"""

# Triton's language, not Python's: its values have no types that could be written here.
# ruff: noqa: ANN001, ANN201
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl

from mambats_kernels.selective_scan.triton.kernel_number import LN2, LOG2E, logistic, psi, tail
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
def sum_channels(tile):
    """Sum a tile (T, N, D) over its channels, as a product with ones: it takes 3 instructions a number, shuffles 6.

    Rows of 8 channels are too short for a product, so that neighbours in N share one and a selector keeps them apart.
    """
    T: tl.constexpr = tile.shape[0]
    N: tl.constexpr = tile.shape[1]
    D: tl.constexpr = tile.shape[2]
    SHARED: tl.constexpr = max(16 // D, 1)
    own = tl.arange(0, SHARED * D)[:, None] // D == tl.arange(0, SHARED)[None, :]
    rows = tl.reshape(tile, [T * N // SHARED, SHARED * D])
    return tl.reshape(tl.dot(rows, own.to(tl.float32), input_precision="ieee"), [T, N])


@triton.jit
def recompute(h, grown, entering, step, BLOCK_T: tl.constexpr):
    """Walk through a tile: the states after and before every token, both (T, N, D)."""
    after, before = entering, entering
    for t in tl.static_range(BLOCK_T):
        there = step[:, None, None] == t
        before = tl.where(there, h[None, :, :], before)
        h = pick(grown, there) * h + pick(entering, there)
        after = tl.where(there, h[None, :, :], after)
    return after, before


@triton.jit
def retreat(carry, grown, before, source, step, BLOCK_T: tl.constexpr):
    """Walk back: the gradients of every state and of its exponent, both (T, N, D), and what goes before the tile."""
    slope, exponent = source, source
    for back in tl.static_range(BLOCK_T):
        there = step[:, None, None] == BLOCK_T - 1 - back
        g = pick(source, there) + carry
        carry = pick(grown, there) * g
        slope = tl.where(there, g[None, :, :], slope)
        # Taken here, decays and states need no registers behind this step.
        exponent = tl.where(there, (carry * pick(before, there))[None, :, :], exponent)
    return slope, exponent, carry


@triton.jit
def ungate(outer, out, z, dz, alive):
    """Give the gradient before the gate silu(z), and write that of z."""
    opened = logistic(z, tail(z))
    tl.store(dz, (outer * out * opened * (1.0 + z * (1.0 - opened))).to(dz.dtype.element_ty), alive)
    return outer * z * opened


@triton.jit
def spread(g, exponent, b, x, delta, span, a, grown, weight, HOLD: tl.constexpr):
    """Give the gradients (T, D) of x, of span, and of delta besides span, and that of A (N, D)."""
    entering = g * b[:, :, None]
    dspan = tl.sum(exponent * a[None, :, :], axis=1) * LN2
    rate = exponent * span[:, None, :]
    if HOLD:
        dx, dweight = tl.sum(entering * weight, axis=1), entering * x[:, None, :]
        dspan += tl.sum(dweight * grown, axis=1)
        rate += dweight * (span * span)[:, None, :] * psi(span[:, None, :] * a[None, :, :] * LN2, grown)
        return dx, dspan, tl.zeros(dx.shape, tl.float32), tl.sum(rate, axis=0)
    else:
        du = tl.sum(entering, axis=1)
        return du * delta, dspan, du * x, tl.sum(rate, axis=0)


@triton.jit
def store_gaps(parts, dgap, token, step, left, walked, REVERSE: tl.constexpr):
    """Write a program's share (T, D) of the gradients of the gaps that its steps met."""
    met = (step < left) & (step + walked > 0) if REVERSE else step < left
    at = token + 1 - step if REVERSE else token + step
    tl.store(parts + at, tl.sum(dgap, axis=1), met)


@triton.jit
def fetch_back(dy, saved, sources, offsets, save_at, kept, begin, length, walked,
               WIDTH: tl.constexpr, STATES: tl.constexpr, ALL_N: tl.constexpr, REVERSE: tl.constexpr,
               BLOCK_T: tl.constexpr):  # fmt: skip
    """Load the tile that begins after `walked` tokens, with the gradient of y and the state before the tile."""
    step, channels, _, known, known_n = offsets
    token = begin + (-1 if REVERSE else 1) * walked.to(tl.int64)
    alive = (step < length - walked)[:, None] & known[None, :]
    outer = tl.load(dy + token * WIDTH + channels, mask=alive, other=0.0).to(tl.float32)
    tile = saved + (save_at + walked // BLOCK_T) * (WIDTH * STATES)
    h = tl.load(tile + kept, mask=known_n[:, None] & known[None, :] & (walked < length), other=0.0)
    x, dt, z, b, c, gap = fetch(sources, offsets, token, length - walked, walked, WIDTH, ALL_N, REVERSE)
    return outer, h, x, dt, z, b, c, gap


@triton.jit
def differentiate(loaded, channelwise, carry, dz, step, alive,
                  GAPS: tl.constexpr, GATED: tl.constexpr, SOFTPLUS: tl.constexpr, HOLD: tl.constexpr,
                  BLOCK_T: tl.constexpr):  # fmt: skip
    """Give the gradients that a tile of `fetch_back` has, in the order of what follows the scan; write that of z.

    Of x and dt (T, D), of B and C (T, N), of the gaps for every channel (T, D), of A (N, D), of D (D,), and the carry.
    """
    outer, h, x, dt, z, b, c, gap = loaded
    a, skip, shift = channelwise
    delta, slope = step_size(dt, shift, alive, SOFTPLUS)
    span = delta * gap if GAPS else delta
    grown, weight = advance(delta, span, a, HOLD)
    put = tl.broadcast_to(weight * x[:, None, :], grown.shape)
    after, before = recompute(h, grown, put * b[:, :, None], step, BLOCK_T)
    if GATED:
        outer = ungate(outer, tl.sum(after * c[:, :, None], axis=1) + skip[None, :] * x, z, dz, alive)
    dc = sum_channels(after * outer[:, None, :])
    g, exponent, carry = retreat(carry, grown, before, c[:, :, None] * outer[:, None, :], step, BLOCK_T)
    db = sum_channels(g * put)
    dx, dspan, ddelta, da = spread(g, exponent, b, x, delta, span, a, grown, weight, HOLD)
    ddt = (ddelta + (dspan * gap if GAPS else dspan)) * slope
    return dx + outer * skip[None, :], ddt, db, dc, dspan * delta, da, tl.sum(outer * x, axis=0), carry


@triton.jit(do_not_specialize=["tokens", "all_tokens"])  # a 1 would become a constant, which no loop can count with
def backward(
    dy, dfinal, x, dt, A, B, C, D, z, bias, gaps, borders, saved,
    dx, ddt, dz, dinitial, part_A, part_B, part_C, part_D, part_bias, part_gaps, tokens, all_tokens,
    WIDTH: tl.constexpr, GROUPS: tl.constexpr, STATES: tl.constexpr,
    SOFTPLUS: tl.constexpr, HOLD: tl.constexpr, REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Walk one row back; `all_tokens` counts those of every row."""
    SIGN: tl.constexpr = -1 if REVERSE else 1
    ALL_N: tl.constexpr = GROUPS * STATES
    TILES: tl.constexpr = (WIDTH // GROUPS + BLOCK_D - 1) // BLOCK_D
    row, group, tile, channel, known = locate(WIDTH, GROUPS, BLOCK_D)
    first, length, save_at = reach(borders, row, tokens, BLOCK_T)
    begin = first + length - 1 if REVERSE else first
    step, n = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_N)
    known_state = (n < STATES)[:, None] & known[None, :]
    rates, kept = spots(channel, n, WIDTH, STATES)
    state = row * (WIDTH * STATES) + rates
    a = tl.load(A + rates, mask=known_state, other=0.0).to(tl.float32) * LOG2E
    skip, shift = load_channel(D, channel, known), load_channel(bias, channel, known)
    carry, da = load_state(dfinal, state, known_state), tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    dskip, dshift = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    channels = SIGN * step[:, None] * WIDTH + channel[None, :]
    weights = SIGN * step[:, None] * ALL_N + group * STATES + n[None, :]
    sources, offsets = (x, dt, z, B, C, gaps), (step, channels, weights, known, n < STATES)
    walked = tl.cdiv(length, BLOCK_T) * BLOCK_T
    dy_0, h_0, x_0, dt_0, z_0, b_0, c_0, gap_0 = fetch_back(
        dy, saved, sources, offsets, save_at, kept, begin, length, tl.maximum(walked - BLOCK_T, 0),
        WIDTH, STATES, ALL_N, REVERSE, BLOCK_T)  # fmt: skip
    while walked > 0:
        walked -= BLOCK_T
        loaded = (dy_0, h_0, x_0, dt_0, z_0, b_0, c_0, gap_0)
        dy_0, h_0, x_0, dt_0, z_0, b_0, c_0, gap_0 = fetch_back(
            dy, saved, sources, offsets, save_at, kept, begin, length, tl.maximum(walked - BLOCK_T, 0),
            WIDTH, STATES, ALL_N, REVERSE, BLOCK_T)  # fmt: skip
        alive = (step < length - walked)[:, None] & known[None, :]
        token = begin + SIGN * walked.to(tl.int64)
        at, weighted = token * WIDTH + channels, (step < length - walked)[:, None] & (n < STATES)[None, :]
        dx_tile, ddt_tile, db, dc, dgap, rate, dskip_tile, carry = differentiate(
            loaded, (a, skip, shift), carry, None if z is None else dz + at, step, alive,
            gaps is not None, z is not None, SOFTPLUS, HOLD, BLOCK_T)  # fmt: skip
        da, dskip, dshift = da + rate, dskip + dskip_tile, dshift + tl.sum(ddt_tile, axis=0)
        part = (tile.to(tl.int64) * all_tokens + token) * ALL_N + weights
        tl.store(part_B + part, db, weighted)
        tl.store(part_C + part, dc, weighted)
        tl.store(dx + at, dx_tile.to(dx.dtype.element_ty), alive)
        tl.store(ddt + at, ddt_tile.to(ddt.dtype.element_ty), alive)
        if gaps is not None:
            program = (tl.program_id(0) % (GROUPS * TILES)).to(tl.int64) * all_tokens
            store_gaps(part_gaps + program, dgap, token, step, length - walked, walked, REVERSE)
    tl.store(part_A + state, da, known_state)
    tl.store(part_D + row * WIDTH + channel, dskip, known)
    tl.store(part_bias + row * WIDTH + channel, dshift, known)
    if dinitial is not None:
        tl.store(dinitial + state, carry, known_state)
