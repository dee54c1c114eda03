"""Tiles: what a program reads at once, T steps of the walk by D channels of one group, and how it walks through them.

A state tile is (T, N, D). The default layout puts the last axes across the lanes and T into registers, so that to
`pick` a step, or to put one back by `tl.where`, names a register and costs nothing, whatever it looks like. That makes
the walk over time a chain of plain multiply-adds. `tl.associative_scan` would also multiply decays, and it flips a
reversed scan by shuffles. Loops are `while`, since triton 3.6's interpreter cannot count to a tensor with numpy 2.4.
"""

# Triton's language, not Python's: its values have no types that could be written here.
# ruff: noqa: ANN001, ANN201
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl

from mambats_kernels.selective_scan.triton.kernel_number import LN2, logistic, phi, softplus, tail


@triton.jit
def pick(tile, there):
    """Take from a tile (T, N, D) the one step where `there` (T, 1, 1) is true. Gives (N, D)."""
    # Adding whole zeros changes no bit, so the sum folds to the one register that is left; float zeros would stay.
    bits = tl.where(there, tile.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, axis=0).to(tl.float32, bitcast=True)


@triton.jit
def locate(WIDTH: tl.constexpr, GROUPS: tl.constexpr, BLOCK_D: tl.constexpr):
    """Give the program's row, its group, its tile in the group, its channels (D,), and which of them there are."""
    share: tl.constexpr = WIDTH // GROUPS
    tiles: tl.constexpr = (share + BLOCK_D - 1) // BLOCK_D
    row = (tl.program_id(0) // (GROUPS * tiles)).to(tl.int64)
    group, tile = tl.program_id(0) // tiles % GROUPS, tl.program_id(0) % tiles
    within = tile * BLOCK_D + tl.arange(0, BLOCK_D)
    return row, group, tile, group * share + within, within < share


@triton.jit
def reach(borders, row, tokens, BLOCK_T: tl.constexpr):
    """Give a row's first token among all, its length, both held inside the tensors, and its first saved state.

    A state is saved a tile; packed rows round up once each.
    """
    if borders is None:
        return row * tokens, tokens, row * tl.cdiv(tokens, BLOCK_T)
    else:
        first = tl.minimum(tl.maximum(tl.load(borders + row).to(tl.int64), 0), tokens)
        end = tl.minimum(tl.maximum(tl.load(borders + row + 1).to(tl.int64), first), tokens)
        return first, (end - first).to(tl.int32), first // BLOCK_T + row


@triton.jit
def spots(channel, n, WIDTH: tl.constexpr, STATES: tl.constexpr):
    """Give where states (N, D) lie in memory as (D, N), and as (N, D).

    The hints make loads and stores go over the lanes channel by channel, one number at a time, as the walk holds its
    states. Left alone, the compiler takes 4 neighbours at once in a layout of its own, and carries that through the
    walk: 42 instead of 36 instructions a number of state backward with a gradient of the final state. That channels of
    (D, N) are neighbours is not true, but where nothing is known to be aligned only the order of lanes follows from it.
    """
    column, line = channel[None, :], n[:, None]
    state = tl.multiple_of(tl.max_contiguous(column * STATES + line, [1, 2]), [1, 1])
    return state, tl.multiple_of(line * WIDTH + column, [1, 1])


@triton.jit
def load_channel(values, channel, known):
    """Load one number a channel as float32 (D,), zeros where there is none."""
    if values is None:
        return tl.zeros(channel.shape, tl.float32)
    else:
        return tl.load(values + channel, mask=known, other=0.0).to(tl.float32)


@triton.jit
def load_state(states, offset, known):
    """Load the state (N, D) of a row as float32, zeros where there is none."""
    if states is None:
        return tl.zeros(offset.shape, tl.float32)
    else:
        return tl.load(states + offset, mask=known, other=0.0).to(tl.float32)


@triton.jit
def load_gaps(gaps, token, step, alive, walked, REVERSE: tl.constexpr):
    """Load the gap before each step, 1 behind the end; in reverse a step uses that of the token walked before.

    Every channel gets its own copy (T, D): a column (T,) would change its layout wherever it meets a tile.
    """
    at, met = token + step, alive
    if REVERSE:
        at, met = token + 1 - step, alive & (step + walked > 0)[:, None]
    return tl.load(gaps + tl.broadcast_to(at[:, None], alive.shape), mask=met, other=1.0).to(tl.float32)


@triton.jit
def fetch(sources, offsets, token, left, walked, WIDTH: tl.constexpr, ALL_N: tl.constexpr, REVERSE: tl.constexpr):
    """Load a tile of (x, dt, z, B, C, gaps) as float32, 0 behind the end; x stands in for what is not there.

    Converted here, a whole iteration ahead of its use, numbers change their layout as float32, else B and C are
    converted by every lane: 9.6 against 13.5 instructions a number of state forward on sm_90, 39 against 46 backward.
    """
    x, dt, z, B, C, gaps = sources
    step, channels, weights, known, known_n = offsets
    alive, weighted = (step < left)[:, None] & known[None, :], (step < left)[:, None] & known_n[None, :]
    at, weights_at = token * WIDTH + channels, token * ALL_N + weights
    x_tile = tl.load(x + at, mask=alive, other=0.0).to(tl.float32)
    dt_tile = tl.load(dt + at, mask=alive, other=0.0).to(tl.float32)
    z_tile = x_tile
    if z is not None:
        z_tile = tl.load(z + at, mask=alive, other=0.0).to(tl.float32)
    b = tl.load(B + weights_at, mask=weighted, other=0.0).to(tl.float32)
    c = tl.load(C + weights_at, mask=weighted, other=0.0).to(tl.float32)
    gap = x_tile
    if gaps is not None:
        gap = load_gaps(gaps, token, step, alive, walked, REVERSE)
    return x_tile, dt_tile, z_tile, b, c, gap


@triton.jit
def step_size(dt, bias, alive, SOFTPLUS: tl.constexpr):
    """Give delta (T, D) and its derivative by dt; both 0 behind the end, where softplus of nothing is not nothing."""
    raw = dt + bias[None, :]
    if SOFTPLUS:
        rest = tail(raw)
        return tl.where(alive, softplus(raw, rest), 0.0), tl.where(alive, logistic(raw, rest), 0.0)
    else:
        return tl.where(alive, raw, 0.0), tl.where(alive, 1.0, tl.zeros(raw.shape, tl.float32))


@triton.jit
def advance(delta, span, a, HOLD: tl.constexpr):
    """Give exp(span A) (T, N, D), and the weight of x B: delta (T, 1, D) of events, expm1(span A) / A of held inputs.

    `a` is A log2(e).
    """
    grown = tl.exp2(span[:, None, :] * a[None, :, :])
    if HOLD:
        return grown, span[:, None, :] * phi(span[:, None, :] * a[None, :, :] * LN2, grown)
    else:
        return grown, delta[:, None, :]
