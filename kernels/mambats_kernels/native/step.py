"""One token through a stack of gated state-space layers in one call of the native library."""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels import native
from mambats_kernels.native.stack import STALE, Layer, Stack, token


class LayerWeights(NamedTuple):
    """Weights of one layer: norm, in_proj, convolution and silu, x_proj, dt_proj, scan and gate, out_proj.

    Attributes:
        norm: Shape (width,).
        in_proj: Shape (2 inner, width): input, then gate.
        conv_weight: Shape (inner, W) with W > 1, or None without convolution.
        conv_bias: Shape (inner,), or None.
        x_proj: Shape (rank + 2 N, inner): step sizes, B, C.
        dt_proj: Shape (inner, rank).
        dt_bias: Shape (inner,).
        A_log: Shape (inner, N), the logarithm of -A.
        D: Shape (inner,).
        out_proj: Shape (width, inner).
    """

    norm: Tensor
    in_proj: Tensor
    conv_weight: Tensor | None
    conv_bias: Tensor | None
    x_proj: Tensor
    dt_proj: Tensor
    dt_bias: Tensor
    A_log: Tensor
    D: Tensor
    out_proj: Tensor


class StackWeights(NamedTuple):
    """Weights of a stack, all contiguous float32 on the CPU.

    Attributes:
        embed: Shape (width, 2 C + 1), for values, flags of missing ones, and log((1 + gap) / 2).
        embed_bias: Shape (width,).
        norm: Of the token that leaves, shape (width,), or None.
        layers: One `LayerWeights` a layer, all of the same shapes.
        hold: As in `selective_scan`.
        eps: Of every norm.
    """

    embed: Tensor
    embed_bias: Tensor
    norm: Tensor | None
    layers: tuple[LayerWeights, ...]
    hold: bool
    eps: float

    def tensors(self) -> list[Tensor]:
        """Every weight once, in a fixed order."""
        return [weight for weight in self._all() if weight is not None]

    def check(self) -> None:
        """Refuse weights whose shapes do not fit together.

        Raises:
            ValueError: If they do not, or there is no layer.
        """
        if (
            not self.layers
            or self.embed.dim() != 2
            or any(v.dim() != 2 for v in (self.layers[0].A_log, self.layers[0].dt_proj))
        ):
            raise ValueError("a stack needs a layer, and matrices for embed, A_log and dt_proj: give all its weights.")
        (width, columns), first = self.embed.shape, self.layers[0]
        (inner, states), rank = first.A_log.shape, first.dt_proj.shape[1]
        taps = None if first.conv_weight is None else first.conv_weight.shape[-1]
        conv = (None, None) if taps is None else ((inner, taps), (inner,))
        layer = (
            (width,), (2 * inner, width), *conv, (rank + 2 * states, inner), (inner, rank), (inner,), (inner, states),
            (inner,), (width, inner),
        )  # fmt: skip
        needed = [(width, columns), (width,), None if self.norm is None else (width,), *layer * len(self.layers)]
        given = [None if weight is None else tuple(weight.shape) for weight in self._all()]
        if given != needed or columns % 2 == 0 or taps == 1:
            raise ValueError(f"the weights have shapes {given}, needed {needed}: take them from one stack.")

    def _all(self) -> list[Tensor | None]:
        return [self.embed, self.embed_bias, self.norm, *(weight for layer in self.layers for weight in layer)]


def _at(weight: Tensor | None) -> int | None:
    return None if weight is None else weight.data_ptr()


class StackStep:
    """The step of a stack for one batch size.

    The library reads the weights where they lie, so values changed in place count from the next step on.

    Args:
        weights: What the stack is made of.
        batch: Rows B of each step.

    Raises:
        RuntimeError: If there is no native library.
        ValueError: If the weights do not fit together.
    """

    def __init__(self, weights: StackWeights, batch: int) -> None:
        weights.check()
        if native.library is None:
            raise RuntimeError(f"the native back-end has no library: {native.missing}")
        self.batch, self._library = batch, native.library
        self._weights, self.tensors = weights, weights.tensors()
        self.places = [weight.data_ptr() for weight in self.tensors]
        self._pack = token(len(weights.layers)).pack
        self._stack = self._derive()

    def _derive(self) -> Stack:
        """Compute what is kept of small weights, in new memory: another thread may be reading the old."""
        (width, columns), first, layers = self._weights.embed.shape, self._weights.layers[0], self._weights.layers
        taps = 1 if first.conv_weight is None else first.conv_weight.shape[1]
        stack = Stack(
            self.batch, columns // 2, width, len(layers), *first.A_log.shape, taps, first.dt_proj.shape[1],
            self._weights.hold, torch.get_num_threads(), self._weights.eps, *map(_at, self._weights[:3]),
            (Layer * len(layers))(*[Layer(*map(_at, layer)) for layer in layers]),
        )  # fmt: skip
        stack.derived = (ctypes.c_float * self._library.mambats_stack_floats(stack))()
        self._library.mambats_stack_derive(stack)
        return stack

    def __call__(self, addresses: Sequence[int]) -> None:
        """Advance by one token.

        Args:
            addresses: Where contiguous tensors lie: x (B, C), gap (B,), observed (B, C) and mask (B,) bool, and y
                (B, width); then the state: pending (B,) and fresh (B,) bool of the clock, and for each layer conv
                (B, W-1, inner) and ssm (B, inner, N); then the state one token on. gap, observed and mask may be 0 for
                none.

        Raises:
            MemoryError: If there was no memory for buffers.
        """
        moving = self._pack(*addresses)
        done = self._library.mambats_stack_step(self._stack, moving)
        if done == STALE:
            self._stack = self._derive()
            done = self._library.mambats_stack_step(self._stack, moving)
        if done:
            raise MemoryError("the native step found no memory for its buffers: give fewer rows.")
