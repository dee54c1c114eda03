"""Tiles: what a program reads at once, T steps of the walk by D channels of one group, and how it walks through them.

A state tile is (T, N, D). The default layout puts the last axes across the lanes and T into registers, so that `pick`
and `place` name registers and cost nothing, whatever they look like. That makes the walk over time a chain of plain
multiply-adds. `tl.associative_scan` would also multiply decays, and flips a reversed scan by shuffles.
"""

# Triton's language, not Python's: its values have no types that could be written here.
# ruff: noqa: ANN001, ANN201
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl

from mambats_kernels.selective_scan.triton.number import logistic, softplus, tail


@triton.jit
def pick(tile, step, at):
    """Take step `at` of a tile (T, N, D); `step` counts 0..T-1 along the first axis. Gives (N, D)."""
    # -0.0 is what changes nothing when added: the sum folds to the one register that is left.
    return tl.sum(tl.where(step[:, None, None] == at, tile, -0.0), axis=0)


@triton.jit
def place(tile, step, at, value):
    """Put (N, D) at step `at` of a tile (T, N, D)."""
    return tl.where(step[:, None, None] == at, value[None, :, :], tile)


@triton.jit
def reach(borders, row, tokens):
    """Give the first token of a row in all of them, and how many tokens it has, held inside the tensors."""
    if borders is None:
        return row.to(tl.int64) * tokens, tokens
    else:
        first = tl.minimum(tl.maximum(tl.load(borders + row).to(tl.int64), 0), tokens)
        end = tl.minimum(tl.maximum(tl.load(borders + row + 1).to(tl.int64), first), tokens)
        return first, (end - first).to(tl.int32)


@triton.jit
def saved_tile(borders, row, tokens, first, BLOCK_T: tl.constexpr):
    """Give where the saved states of a row begin, counted in tiles; packed rows round up once each."""
    if borders is None:
        return row.to(tl.int64) * tl.cdiv(tokens, BLOCK_T)
    else:
        return first // BLOCK_T + row


@triton.jit
def load_channel(values, channel, known):
    """Load one number a channel as float32 (D,), zeros where there is none."""
    if values is None:
        return tl.zeros_like(channel).to(tl.float32)
    else:
        return tl.load(values + channel, mask=known, other=0.0).to(tl.float32)


@triton.jit
def load_state(states, at, offset, known):
    """Load the state (N, D) of a row as float32, zeros where there is none."""
    if states is None:
        return tl.zeros(offset.shape, tl.float32)
    else:
        return tl.load(states + at + offset, mask=known, other=0.0).to(tl.float32)


@triton.jit
def load_gaps(gaps, token, step, left, walked, REVERSE: tl.constexpr):
    """Load the gap before each step (T,), 1 behind the end; in reverse a step uses that of the token walked before."""
    if gaps is None:
        return tl.full(step.shape, 1.0, tl.float32)
    elif REVERSE:
        return tl.load(gaps + token + 1 - step, mask=(step < left) & (step + walked > 0), other=1.0).to(tl.float32)
    else:
        return tl.load(gaps + token + step, mask=step < left, other=1.0).to(tl.float32)


@triton.jit
def step_size(dt, bias, alive, SOFTPLUS: tl.constexpr):
    """Give delta (T, D) and its derivative by dt; both 0 behind the end, where softplus of nothing is not nothing."""
    raw = dt.to(tl.float32) + bias[None, :]
    if SOFTPLUS:
        rest = tail(raw)
        return tl.where(alive, softplus(raw, rest), 0.0), tl.where(alive, logistic(raw, rest), 0.0)
    else:
        return tl.where(alive, raw, 0.0), tl.where(alive, 1.0, tl.zeros_like(raw))
