"""Functions of one number that kernels use, exact to float32 where the plain formula would cancel or overflow."""

# Triton's language, not Python's: its values have no types that could be written here.
# ruff: noqa: ANN001, ANN201
# pyright: basic, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def tail(v):
    """Give exp(-|v|), from which softplus and the logistic function are made without overflow."""
    return tl.exp2(-tl.abs(v) * LOG2E)


@triton.jit
def softplus(v, tail):
    """Give log(1 + exp(v)) = max(v, 0) + log(1 + tail), right also where v is far below 0."""
    # log(1 + tail) / tail on [0, 1]: minimax of degree 9, 1.5e-7 off in float32; log(1 + tail) itself would round away
    # all of a small tail.
    p = -0.0032440212089568377 * tail + 0.01985144428908825
    p = p * tail - 0.056959498673677444
    p = p * tail + 0.10603651404380798
    p = p * tail - 0.15305590629577637
    p = p * tail + 0.1967593878507614
    p = p * tail - 0.24954134225845337
    p = p * tail + 0.3332996368408203
    p = p * tail - 0.4999990165233612
    p = p * tail + 1.0
    return tl.maximum(v, 0.0) + p * tail


@triton.jit
def logistic(v, tail):
    """Give 1 / (1 + exp(-v))."""
    return tl.where(v >= 0.0, 1.0, tail) / (1.0 + tail)


@triton.jit
def phi(v, grown):
    """Give (exp(v) - 1) / v for grown = exp(v), by a series near 0 where the difference would cancel."""
    p = v * (1.0 / 39916800) + 1.0 / 3628800
    p = p * v + 1.0 / 362880
    p = p * v + 1.0 / 40320
    p = p * v + 1.0 / 5040
    p = p * v + 1.0 / 720
    p = p * v + 1.0 / 120
    p = p * v + 1.0 / 24
    p = p * v + 1.0 / 6
    p = p * v + 0.5
    p = p * v + 1.0
    near = tl.abs(v) < 1.0
    return tl.where(near, p, (grown - 1.0) / tl.where(near, 1.0, v))


@triton.jit
def psi(v, grown):
    """Give (v exp(v) - exp(v) + 1) / v^2 = sum of v^k / (k! (k + 2)) for grown = exp(v), which phi's slope needs."""
    p = v * (1.0 / 43545600) + 1.0 / 3991680
    p = p * v + 1.0 / 403200
    p = p * v + 1.0 / 45360
    p = p * v + 1.0 / 5760
    p = p * v + 1.0 / 840
    p = p * v + 1.0 / 144
    p = p * v + 1.0 / 30
    p = p * v + 1.0 / 8
    p = p * v + 1.0 / 3
    p = p * v + 0.5
    near = tl.abs(v) < 1.0
    far = tl.where(near, 1.0, v)
    return tl.where(near, p, (v * grown - grown + 1.0) / (far * far))
