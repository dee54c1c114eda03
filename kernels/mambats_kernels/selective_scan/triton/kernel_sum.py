"""Sums of partial sums in a fixed order, so that two runs agree to the bit."""

# Triton's language, not Python's: its values have no types that could be written here.
# ruff: noqa: ANN001, ANN201
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["count", "rows"])  # a 1 would become a constant, which no loop can count with
def ordered_sum(parts, out, borders, rows, total, each, count, BLOCK: tl.constexpr, TOGETHER: tl.constexpr):
    """Add `parts` (count, total) to `out` (total,), `each` numbers a token; 0 for tokens of no packed row."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < total
    if borders is not None:  # what lies outside was never written
        there = there & (at // each >= tl.load(borders)) & (at // each < tl.load(borders + rows))
    found = tl.zeros([BLOCK], tl.float32)
    k = count * 0
    while k < count:
        for j in tl.static_range(TOGETHER):
            found += tl.load(parts + (k + j).to(tl.int64) * total + at, mask=there & (k + j < count), other=0.0)
        k += TOGETHER
    tl.store(out + at, found.to(out.dtype.element_ty), mask=at < total)
