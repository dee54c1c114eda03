"""The selective scan without an autograd graph: blocks of states in reused buffers, one launch per token.

Everything in a block but the recurrence itself is one launch: decay, input, read-out and each gradient. Only the state
before every block is saved; the backward pass recomputes a block from it. With S > 1 runs side by side, a first sweep
from zero finds what each run adds, a walk over the runs joins them, and a second sweep starts from the right states.
"""

from itertools import pairwise

import torch
from torch import Tensor

from mambats_kernels.selective_scan.plan import Plan, plan, unfold
from mambats_kernels.selective_scan.tokens import Found, Tokens, find, fold_state, fold_tokens, multiply, unfold_state


class Sweep:
    """Buffers for the states of K tokens of every row, filled anew for each block.

    Args:
        tokens: The folded inputs.
        cut: The plan they were folded by.
    """

    def __init__(self, tokens: Tokens, cut: Plan) -> None:
        self.tokens, self.cut = tokens, cut
        rows, (groups, states, channels) = tokens.span.shape[1], tokens.a.shape
        self.shape = (cut.block, rows, groups, states, channels)
        self.decay = tokens.span.new_empty(self.shape)
        self.state = torch.empty_like(self.decay)
        self.held = torch.empty_like(self.decay) if tokens.hold else None
        self.decays, self.states = (
            self.decay.unbind(0),
            self.state.unbind(0),
        )  # views made once: slicing costs as a launch

    def zeros(self) -> Tensor:
        """One state of every row."""
        return self.decay.new_zeros(self.shape[1:])

    def load_decay(self, lo: int, hi: int) -> None:
        """Fill exp(span A), 0 at the first token of a packed sequence, and in hold mode expm1(span A) / A."""
        i, decay = self.tokens, self.decay[: hi - lo]
        torch.mul(i.span[lo:hi], i.a, out=decay)
        if self.held is None:
            decay.exp_()
        else:
            held = self.held[: hi - lo]
            torch.expm1(decay, out=held)
            torch.add(held, 1.0, out=decay)
            held.div_(i.a)
        if i.keep is not None:
            decay.mul_(i.keep[lo:hi])

    def load_input(self, lo: int, hi: int) -> None:
        """Fill what each token adds to the state: weight u B, and a packed sequence's decayed initial state."""
        i, state = self.tokens, self.state[: hi - lo]
        if self.held is None:
            torch.mul(i.u[lo:hi], i.b[lo:hi], out=state)
        else:
            torch.mul(self.held[: hi - lo], i.u[lo:hi], out=state).mul_(i.b[lo:hi])
        if i.start is not None and i.begin is not None:
            found = find(i.begin, lo, hi, self.cut)
            self.enter(state, found, lo, hi)

    def first_decay(self, found: Found, lo: int, hi: int) -> Tensor:
        """exp(span A) of the tokens at which sequences begin, zero for those not in this block: (m, G, N, P)."""
        span = self.tokens.span[lo:hi].flatten(0, 1)[found.place]
        return torch.exp(span * self.tokens.a) * found.there

    def enter(self, target: Tensor, found: Found, lo: int, hi: int) -> None:
        """Add each sequence's decayed initial state where it begins."""
        start = self.tokens.start
        if start is not None:
            value = self.first_decay(found, lo, hi) * start[found.sequence]
            target.flatten(0, 1).index_add_(0, found.place, value)

    def recur(self, count: int, before: Tensor) -> None:
        """Walk the block: h = decay h + input, in place."""
        for t in range(count):
            before = self.states[t].addcmul_(self.decays[t], before)

    def forward(
        self, carry: Tensor, y: Tensor | None = None, saved: Tensor | None = None, final: Tensor | None = None
    ) -> None:
        """Walk all blocks from `carry`, which becomes the last state; fill what is given to be filled."""
        i = self.tokens
        for n, (lo, hi) in enumerate(self.cut.spans()):
            if saved is not None:
                saved[n].copy_(carry)
            self.load_decay(lo, hi)
            self.load_input(lo, hi)
            self.recur(hi - lo, carry)
            carry.copy_(self.states[hi - lo - 1])
            state = self.state[: hi - lo]
            if y is not None:
                multiply(i.c[lo:hi].flatten(0, 2), state.flatten(0, 2), y[lo:hi].flatten(0, 2))
            if final is not None and i.end is not None:
                found = find(i.end, lo, hi, self.cut)
                final.index_add_(0, found.sequence, state.flatten(0, 1)[found.place] * found.there)

    def total_decay(self) -> Tensor:
        """What is left of a state after a whole run: exp(A sum span), nothing if a sequence begins in it."""
        total = torch.exp(self.tokens.span.sum(0) * self.tokens.a)
        return total if self.tokens.keep is None else total * self.tokens.keep.amin(0)


def join(local: Tensor, total: Tensor, first: Tensor, runs: int, backward: bool = False) -> Tensor:
    """Give what enters each run, from what it makes of zero (`local`) and what it lets pass (`total`), (B * S, ...)."""
    local, total = (v.unflatten(0, (-1, runs)) for v in (local, total))
    entering = torch.empty_like(local)
    order = list(range(runs))[:: -1 if backward else 1]
    entering[:, order[0]] = first
    for s, after in pairwise(order):
        torch.addcmul(local[:, s], total[:, s], entering[:, s], out=entering[:, after])
    return entering.flatten(0, 1)


def scan_forward(
    span: Tensor,
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial: Tensor | None,
    borders: Tensor | None,
    hold: bool,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scan span, u (B, T, D) with A (D, N), B and C (B, T, G, N), all float32, T >= 1.

    Returns:
        y (B, T, D); final states (B, D, N), or (n, D, N) with `borders`, where empty sequences have zeros; the states
        before every block for `scan_backward`, empty unless `save`.
    """
    (batch, tokens, width), (groups, size) = span.shape, B.shape[2:]
    cut = plan(span.device, batch, tokens, width * size)
    shape = (cut.blocks, batch * cut.runs, groups, size, width // groups) if save else (0, batch)
    saved = span.new_empty(shape)
    parts = [
        _forward_rows(span[s], u[s], A, B[s], C[s], initial if initial is None or borders is not None else initial[s],
                      borders, cut, hold, reverse, saved[:, s] if cut.runs == 1 else saved)
        for s in cut.shares(batch)
    ]  # fmt: skip
    y, final = parts[0] if len(parts) == 1 else [torch.cat(v) for v in zip(*parts, strict=True)]
    return y, final, saved


def _forward_rows(
    span: Tensor,
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial: Tensor | None,
    borders: Tensor | None,
    cut: Plan,
    hold: bool,
    reverse: bool,
    saved: Tensor,
) -> tuple[Tensor, Tensor]:
    """Scan one share of the rows and fill its `saved` states, if there is room for any."""
    (batch, tokens, _), groups = span.shape, B.shape[2]
    start = None if initial is None else fold_state(initial, groups)
    i = fold_tokens(span, u, A, B, C, start if borders is not None else None, borders, cut, hold, reverse)
    sweep = Sweep(i, cut)
    carry = sweep.zeros()
    entering = start if borders is None and start is not None else carry.new_zeros((batch, *carry.shape[1:]))
    if cut.runs > 1:
        sweep.forward(carry)
        carry = join(carry, sweep.total_decay(), entering, cut.runs)
    else:
        carry = entering.clone()
    y = torch.empty_like(i.span)
    final = None if borders is None else carry.new_zeros((borders.shape[1], *carry.shape[1:]))
    sweep.forward(carry, y, saved if saved.shape[0] else None, final)
    last = carry.unflatten(0, (batch, cut.runs))[:, -1] if final is None else final
    return unfold(y.flatten(2), cut, tokens, reverse), unfold_state(last)
