"""Sums of partial sums in a fixed order, so that two runs agree to the bit."""

# Triton's language, not Python's: its values have no types that could be written here.
# ruff: noqa: ANN001, ANN201
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl


@triton.jit
def ordered_sum(parts, out, borders, rows, total, each, count, BLOCK: tl.constexpr, TOGETHER: tl.constexpr):
    """Add `parts` (count, total) to `out` (total,), `each` numbers a token; 0 for tokens behind the last packed row."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < total
    if borders is not None:  # what lies behind was never written
        there = there & (at // each < tl.load(borders + rows))
    one = tl.arange(0, TOGETHER)
    found = tl.zeros([BLOCK], tl.float32)
    k = count * 0
    while k < count:
        offset = (k + one)[:, None].to(tl.int64) * total + at[None, :]
        found += tl.sum(tl.load(parts + offset, mask=(k + one < count)[:, None] & there[None, :], other=0.0), axis=0)
        k += TOGETHER
    tl.store(out + at, found.to(out.dtype.element_ty), mask=at < total)
