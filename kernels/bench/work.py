"""Work to be timed: a forward call and what its backward needs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Work:
    """One call of one implementation, inputs bound.

    Attributes:
        forward: Gives the outputs, the one to be differentiated first.
        leaves: What gradients are taken for; empty means that there is no backward pass.
        dy: Gradient of the first output, its shape and dtype.
    """

    forward: Callable[[], tuple[Tensor, ...]]
    leaves: tuple[Tensor, ...] = ()
    dy: Tensor | None = None

    def ahead(self) -> tuple[Tensor, ...]:
        """Run forward without gradients."""
        with torch.no_grad():
            return self.forward()

    def both(self) -> tuple[Tensor, ...]:
        """Run forward and backward; give outputs and gradients."""
        with torch.enable_grad():
            outputs = self.forward()
            return *outputs, *torch.autograd.grad(outputs[0], self.leaves, self.dy)


@dataclass(frozen=True)
class Floor:
    """The least that a pass could need.

    Attributes:
        bytes: Read and written once, nothing kept between passes.
        exps: Exponentials to the base 2, one for each state and token.
    """

    bytes: float
    exps: float = 0.0

    def times(self, copy_tb_s: float | None, exp2_t_s: float | None) -> tuple[float | None, float | None]:
        """Milliseconds by bytes and by arithmetic at the rates measured in this run."""
        by_bytes = 1e-9 * self.bytes / copy_tb_s if copy_tb_s else None
        return by_bytes, 1e-9 * self.exps / exp2_t_s if exp2_t_s and self.exps else None


Floors = dict[str, Floor]


def scan_floors(shape: tuple[int, int, int, int], element: int, directions: int = 1) -> Floors:
    """Floors of a scan (B, T, D, N): forward reads x, dt, z, B, C and writes y; fwd+bwd moves 11 BTD + 6 BTN."""
    batch, tokens, width, size = shape
    wide, narrow, exps = batch * tokens * width, batch * tokens * size, float(directions * math.prod(shape))
    return {
        "fwd": Floor(element * (4 * wide + 2 * narrow), exps),
        "fwd+bwd": Floor(element * (11 * wide + 6 * narrow), 2 * exps),
    }


def conv_floors(shape: tuple[int, int, int, int], element: int) -> Floors:
    """Floors of a convolution (B, T, D, W): forward moves 2 BTD, fwd+bwd 5 BTD."""
    wide = math.prod(shape[:3])
    return {"fwd": Floor(element * 2 * wide), "fwd+bwd": Floor(element * 5 * wide)}


def step_floors(batch: int, width: int, size: int, element: int) -> Floors:
    """Floors of one token: the float32 state read and written, A read, and x, dt, z, y."""
    states = width * size
    return {"fwd": Floor(8 * batch * states + 4 * states + 4 * element * batch * width, float(batch * states))}


def attention_floors(batch: int, tokens: int, width: int, element: int) -> Floors:
    """Floors by bytes alone of attention: q, k, v read and y written; 12 such moves with the backward."""
    wide = batch * tokens * width
    return {"fwd": Floor(element * 4 * wide), "fwd+bwd": Floor(element * 12 * wide)}
