"""Gradients of the chunked scan, block by block from the last to the first."""

from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels.selective_scan.chunked import Sweep, join
from mambats_kernels.selective_scan.plan import Plan, fold, plan, unfold
from mambats_kernels.selective_scan.tokens import Tokens, find, fold_state, fold_tokens, multiply, unfold_state


class Gradients(NamedTuple):
    """Gradients in the folded layout of `Tokens`; start (n, G, N, P) only for packed sequences with initial states."""

    span: Tensor
    u: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    start: Tensor | None


class Adjoint(Sweep):
    """A sweep that also walks back: g = decay' g' + C dy, where g is the gradient of the state.

    Args:
        tokens: The folded inputs.
        cut: The plan they were folded by.
        dy: Gradient of y, shape (L, R, G, 1, P).
        dfinal: Gradient of the final states of packed sequences, shape (n, G, N, P), or None.
    """

    def __init__(self, tokens: Tokens, cut: Plan, dy: Tensor, dfinal: Tensor | None) -> None:
        super().__init__(tokens, cut)
        self.dy, self.dfinal = dy, dfinal
        self.slope = torch.empty_like(self.decay)
        self.slopes = self.slope.unbind(0)

    def recur_back(self, lo: int, hi: int, carry: Tensor) -> None:
        """Fill the slopes of a block; `carry` is what comes from behind it and becomes what goes before it."""
        i, count = self.tokens, hi - lo
        slope = self.slope[:count]
        torch.mul(self.dy[lo:hi], i.c[lo:hi].transpose(-1, -2), out=slope)
        if self.dfinal is not None and i.end is not None:
            found = find(i.end, lo, hi, self.cut)
            slope.flatten(0, 1).index_add_(0, found.place, self.dfinal[found.sequence] * found.there)
        after = self.slopes[count - 1].add_(carry)
        for t in range(count - 2, -1, -1):
            after = self.slopes[t].addcmul_(self.decays[t + 1], after)
        torch.mul(self.decays[0], after, out=carry)

    def carries(self, carry: Tensor) -> None:
        """Walk back through all blocks for nothing but the carry."""
        for lo, hi in reversed(self.cut.spans()):
            self.load_decay(lo, hi)
            self.recur_back(lo, hi, carry)

    def gradients(self, carry: Tensor, saved: Tensor, out: Gradients) -> None:
        """Walk back through all blocks, recomputing their states from the `saved` ones."""
        spans = self.cut.spans()
        for n in reversed(range(len(spans))):
            lo, hi = spans[n]
            self.load_decay(lo, hi)
            self.load_input(lo, hi)
            self.recur(hi - lo, saved[n])
            self.recur_back(lo, hi, carry)
            self.weights(lo, hi, out)
            self.decay_gradient(lo, hi, saved[n], out)

    def weights(self, lo: int, hi: int, out: Gradients) -> None:
        """Gradients of C, B and u: sums over channels or states, as batched products."""
        i, count = self.tokens, hi - lo
        state, slope = self.state[:count].flatten(0, 2), self.slope[:count].flatten(0, 2)
        multiply(state, self.dy[lo:hi].flatten(0, 2).mT, out.c[lo:hi].flatten(0, 2))
        if self.held is not None:
            slope = slope * self.held[:count].flatten(0, 2)
        multiply(slope, i.u[lo:hi].flatten(0, 2).mT, out.b[lo:hi].flatten(0, 2))
        multiply(i.b[lo:hi].flatten(0, 2).mT, slope, out.u[lo:hi].flatten(0, 2))

    def decay_gradient(self, lo: int, hi: int, before: Tensor, out: Gradients) -> None:
        """Gradients of span and A through the exponent, and of the initial states of sequences that begin here.

        The gradient of span * A is slope * decay * (state before); the buffers of decay and state are used up for it.
        """
        i, count = self.tokens, hi - lo
        decay, state, slope = self.decay[:count], self.state[:count], self.slope[:count]
        decay[1:].mul_(state[:-1])
        decay[0].mul_(before)
        if i.begin is not None and out.start is not None:
            found = find(i.begin, lo, hi, self.cut)
            self.enter(decay, found, lo, hi)
            value = self.first_decay(found, lo, hi) * slope.flatten(0, 1)[found.place]
            out.start.index_add_(0, found.sequence, value)
        decay.mul_(slope)
        torch.mul(decay, i.span[lo:hi], out=state)
        out.a.add_(state.sum((0, 1)))
        decay.mul_(i.a)
        if self.held is not None:
            self.hold_gradient(lo, hi, out)
        torch.sum(decay, -2, keepdim=True, out=out.span[lo:hi])

    def hold_gradient(self, lo: int, hi: int, out: Gradients) -> None:
        """Add the gradients of span and A through the input's weight w = expm1(span A) / A.

        dw/dspan = exp(span A) = 1 + w A and dw/dA = (span exp(span A) - w) / A, whose numerator cancels near zero:
        there a series in z = span A takes over (five terms leave 3e-8 at |z| = 0.1).
        """
        i, count = self.tokens, hi - lo
        if self.held is None:
            return
        weight, span = self.held[:count], i.span[lo:hi]
        slope = self.slope[:count].mul_(i.u[lo:hi]).mul_(i.b[lo:hi])
        z = span * i.a
        grown = torch.addcmul(torch.ones_like(z), weight, i.a)
        self.decay[:count].addcmul_(slope, grown)
        series = (0.5 + z * (1 / 3 + z * (1 / 8 + z * (1 / 30 + z * (1 / 144))))) * span * span
        exact = (span * grown - weight) / i.a
        out.a.add_((slope * torch.where(z.abs() < 0.1, series, exact)).sum((0, 1)))


def scan_backward(
    dy: Tensor,
    dfinal: Tensor,
    span: Tensor,
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial: Tensor | None,
    borders: Tensor | None,
    saved: Tensor,
    hold: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Give the gradients of span, u, A, B, C and the initial states (rows, D, N) of `scan_forward`."""
    batch, width, size = span.shape[0], span.shape[2], B.shape[3]
    cut = plan(span.device, batch, span.shape[1], width * size)
    packed = borders is not None
    parts = [
        _backward_rows(dy[s], dfinal if packed else dfinal[s], span[s], u[s], A, B[s], C[s],
                       initial if packed else None, borders, saved[:, s] if cut.runs == 1 else saved,
                       cut, hold, reverse)
        for s in cut.shares(batch)
    ]  # fmt: skip
    if len(parts) == 1:
        return parts[0]
    dspan, du, da, db, dc, dstart = zip(*parts, strict=True)
    return torch.cat(dspan), torch.cat(du), torch.stack(da).sum(0), torch.cat(db), torch.cat(dc), torch.cat(dstart)


def _backward_rows(
    dy: Tensor,
    dfinal: Tensor,
    span: Tensor,
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial: Tensor | None,
    borders: Tensor | None,
    saved: Tensor,
    cut: Plan,
    hold: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Give the gradients of one share of the rows; `initial` is needed for packed sequences only."""
    (batch, tokens, _), groups = span.shape, B.shape[2]
    packed = borders is not None
    start = None if initial is None else fold_state(initial, groups)
    i = fold_tokens(span, u, A, B, C, start, borders, cut, hold, reverse)
    end = fold_state(dfinal, groups)
    back = Adjoint(i, cut, fold(dy, cut, reverse).view_as(i.span), end if packed else None)
    carry = back.zeros()
    entering = carry.new_zeros((batch, *carry.shape[1:])) if packed else end
    if cut.runs > 1:
        back.carries(carry)
        carry = join(carry, back.total_decay(), entering, cut.runs, backward=True)
    else:
        carry = entering.clone()
    out = Gradients(
        torch.empty_like(i.span), torch.empty_like(i.u), torch.zeros_like(i.a), torch.empty_like(i.b),
        torch.empty_like(i.b), None if start is None else torch.zeros_like(start),
    )  # fmt: skip
    back.gradients(carry, saved, out)
    if packed:
        first = torch.zeros_like(dfinal) if out.start is None else unfold_state(out.start)
    else:
        first = unfold_state(carry.unflatten(0, (batch, cut.runs))[:, 0])
    return (
        unfold(out.span.flatten(2), cut, tokens, reverse),
        unfold(out.u.flatten(2), cut, tokens, reverse),
        unfold_state(out.a.unsqueeze(0))[0],
        unfold(out.b.squeeze(-1), cut, tokens, reverse),
        unfold(out.c.squeeze(-1), cut, tokens, reverse),
        first,
    )
