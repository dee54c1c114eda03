"""Gradients of the scan: one program walks D channels of one row back from its end, T tokens at a time.

States and decays of a tile are computed again from the state saved before it, then g = exp(span A) g' + C dy walks
back. Sums over channels leave as partial sums of the program; `kernel_sum` adds them in a fixed order.
"""

# Triton's language, not Python's: its values have no types that could be written here.
# ruff: noqa: ANN001, ANN201
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl

from mambats_kernels.selective_scan.triton.number import LN2, LOG2E, logistic, phi, psi, tail
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
def recompute(h, grown, entering, step, BLOCK_T: tl.constexpr):
    """Walk through a tile: the states after and before every token, both (T, N, D)."""
    after, before = entering, entering
    for t in tl.static_range(BLOCK_T):
        before = place(before, step, t, h)
        h = pick(grown, step, t) * h + pick(entering, step, t)
        after = place(after, step, t, h)
    return after, before


@triton.jit
def retreat(carry, grown, source, step, BLOCK_T: tl.constexpr):
    """Walk back: the gradient of every state, that times its decay, both (T, N, D), and what goes before the tile."""
    slope, passed = source, source
    for back in tl.static_range(BLOCK_T):
        g = pick(source, step, BLOCK_T - 1 - back) + carry
        carry = pick(grown, step, BLOCK_T - 1 - back) * g
        slope = place(slope, step, BLOCK_T - 1 - back, g)
        passed = place(passed, step, BLOCK_T - 1 - back, carry)
    return slope, passed, carry


@triton.jit
def ungate(dy, out, z, dz, at, alive):
    """Give the gradient before the gate silu(z), and write that of z; both are dy where there is no gate."""
    if z is None:
        return dy
    else:
        gate = tl.load(z + at, mask=alive, other=0.0).to(tl.float32)
        opened = logistic(gate, tail(gate))
        slope = dy * out * opened * (1.0 + gate * (1.0 - opened))
        tl.store(dz + at, slope.to(dz.dtype.element_ty), alive)
        return dy * gate * opened


@triton.jit
def backward(
    dy, dfinal, x, dt, A, B, C, D, z, bias, gaps, borders, saved,
    dx, ddt, dz, dinitial, part_A, part_B, part_C, part_D, part_bias, part_gaps, tokens, all_tokens,
    WIDTH: tl.constexpr, GROUPS: tl.constexpr, STATES: tl.constexpr,
    SOFTPLUS: tl.constexpr, HOLD: tl.constexpr, REVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Walk one row back; `all_tokens` counts those of every row."""
    SHARE: tl.constexpr = WIDTH // GROUPS
    TILES: tl.constexpr = (SHARE + BLOCK_D - 1) // BLOCK_D
    SIGN: tl.constexpr = -1 if REVERSE else 1
    row = (tl.program_id(0) // (GROUPS * TILES)).to(tl.int64)
    group, tile = tl.program_id(0) // TILES % GROUPS, tl.program_id(0) % TILES
    step, n, within = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_N), tile * BLOCK_D + tl.arange(0, BLOCK_D)
    channel = group * SHARE + within
    known, known_n = within < SHARE, n < STATES
    known_state = known_n[:, None] & known[None, :]
    first, length = reach(borders, row, tokens)
    begin = first + length - 1 if REVERSE else first
    state, state_at = channel[None, :] * STATES + n[:, None], row * (WIDTH * STATES)
    a = tl.load(A + state, mask=known_state, other=0.0).to(tl.float32) * LOG2E
    skip, shift = load_channel(D, channel, known), load_channel(bias, channel, known)
    carry = load_state(dfinal, state_at, state, known_state)
    channels = SIGN * step[:, None] * WIDTH + channel[None, :]
    weights = SIGN * step[:, None] * (GROUPS * STATES) + group * STATES + n[None, :]
    save_at = saved_tile(borders, row, tokens, first, BLOCK_T)
    da = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    dskip, dshift = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    i = tl.cdiv(length, BLOCK_T)  # a while, since triton 3.6's interpreter cannot count to a tensor with numpy 2.4
    while i > 0:
        i -= 1
        walked = i * BLOCK_T
        left = length - walked
        token = begin + SIGN * walked.to(tl.int64)
        at, weights_at = token * WIDTH + channels, token * (GROUPS * STATES) + weights
        alive, weighted = (step < left)[:, None] & known[None, :], (step < left)[:, None] & known_n[None, :]
        kept = saved + (save_at + i) * (WIDTH * STATES) + n[:, None] * WIDTH + channel[None, :]
        h = tl.load(kept, mask=known_state, other=0.0)
        x_tile = tl.load(x + at, mask=alive, other=0.0).to(tl.float32)
        delta, slope = step_size(tl.load(dt + at, mask=alive, other=0.0), shift, alive, SOFTPLUS)
        b = tl.load(B + weights_at, mask=weighted, other=0.0).to(tl.float32)
        c = tl.load(C + weights_at, mask=weighted, other=0.0).to(tl.float32)
        gap = load_gaps(gaps, token, step, left, walked, REVERSE)
        span = delta if gaps is None else delta * gap[:, None]
        u = x_tile if HOLD else delta * x_tile
        grown = tl.exp2(span[:, None, :] * a[None, :, :])
        put = tl.broadcast_to(u[:, None, :], (BLOCK_T, BLOCK_N, BLOCK_D))
        if HOLD:
            exponent = span[:, None, :] * a[None, :, :] * LN2
            held = span[:, None, :] * phi(exponent, grown)
            put = held * put
        after, before = recompute(h, grown, put * b[:, :, None], step, BLOCK_T)
        outer = tl.load(dy + at, mask=alive, other=0.0).to(tl.float32)
        if z is not None:
            outer = ungate(outer, tl.sum(after * c[:, :, None], axis=1) + skip[None, :] * x_tile, z, dz, at, alive)
        dskip += tl.sum(outer * x_tile, axis=0)
        g, passed, carry = retreat(carry, grown, c[:, :, None] * outer[:, None, :], step, BLOCK_T)
        part = ((tile * all_tokens).to(tl.int64) + token) * (GROUPS * STATES) + weights
        tl.store(part_C + part, tl.sum(after * outer[:, None, :], axis=2), weighted)
        tl.store(part_B + part, tl.sum(g * put, axis=2), weighted)
        q = passed * before
        dspan = tl.sum(q * a[None, :, :], axis=1) * LN2
        q = q * span[:, None, :]
        dput = g * b[:, :, None]
        if HOLD:
            dheld = dput * u[:, None, :]
            dspan += tl.sum(dheld * grown, axis=1)
            q += dheld * (span * span)[:, None, :] * psi(exponent, grown)
            dput = dput * held
        da += tl.sum(q, axis=0)
        du = tl.sum(dput, axis=1)
        ddelta = dspan if gaps is None else dspan * gap[:, None]
        if HOLD:
            dx_tile = du + outer * skip[None, :]
        else:
            dx_tile = du * delta + outer * skip[None, :]
            ddelta += du * x_tile
        ddelta *= slope
        dshift += tl.sum(ddelta, axis=0)
        tl.store(dx + at, dx_tile.to(dx.dtype.element_ty), alive)
        tl.store(ddt + at, ddelta.to(ddt.dtype.element_ty), alive)
        if gaps is not None:
            met = (step < left) & (step + walked > 0) if REVERSE else step < left
            passed_by = (group * TILES + tile).to(tl.int64) * all_tokens + token + (1 if REVERSE else 0)
            tl.store(part_gaps + passed_by + SIGN * step, tl.sum(dspan * delta, axis=1), met)
    tl.store(part_A + state_at + state, da, known_state)
    tl.store(part_D + row * WIDTH + channel, dskip, known)
    tl.store(part_bias + row * WIDTH + channel, dshift, known)
    if dinitial is not None:
        tl.store(dinitial + state_at + state, carry, known_state)
