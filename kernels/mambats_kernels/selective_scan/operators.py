"""Operators of torch for scans that take every option at once: one schema, fake and way through autograd for all."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Inputs(NamedTuple):
    """The tensors of a scan, options resolved but for what a back-end does itself.

    Attributes:
        x: Input, shape (B, T, D); dt and z likewise.
        A: Shape (D, N).
        B: Shape (B, T, G, N), or (B, T, N) where the back-end takes it; C likewise.
        initial: Shape (rows, D, N): rows of the batch, or packed sequences.
        borders: cu_seqlens, shape (n+1,).
    """

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    bias: Tensor | None
    gaps: Tensor | None
    initial: Tensor | None
    borders: Tensor | None

    @property
    def rows(self) -> Any:
        """Sequences: rows of the batch, or packed ones; a symbol while a graph is traced."""
        return self.x.shape[0] if self.borders is None else self.borders.shape[0] - 1


class Options(NamedTuple):
    """What is chosen by True or False."""

    softplus: bool
    hold: bool
    reverse: bool


class Scan(NamedTuple):
    """What a back-end brings.

    Attributes:
        forward: Of inputs, options and whether a backward pass follows: y (B, T, D), final states (rows, D, N), and
            what the backward pass needs.
        backward: Of dy, dfinal, inputs, what was saved, options and whether the gradient of the gaps is wanted: the
            gradients of the first ten inputs; one of no elements where the input is None or not wanted.
        saved: Shape of what is saved, of inputs and whether a backward pass follows.
    """

    forward: Callable[[Inputs, Options, bool], tuple[Tensor, Tensor, Tensor]]
    backward: Callable[[Tensor | None, Tensor | None, Inputs, Tensor, Options, bool], list[Tensor]]
    saved: Callable[[Inputs, bool], tuple[Any, ...]]


_TENSORS = (
    "Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? dt_bias, Tensor? gaps, "
    "Tensor? initial, Tensor? borders"
)
_OPTIONS = "bool softplus, bool hold, bool reverse"
_FORWARD = f"({_TENSORS}, {_OPTIONS}, bool save) -> (Tensor, Tensor, Tensor)"
_BACKWARD = f"(Tensor? dy, Tensor? dfinal, {_TENSORS}, Tensor saved, {_OPTIONS}, bool sloped) -> Tensor[]"
_MANY = len(Inputs._fields)
_GAPS = Inputs._fields.index("gaps")

Operator = Callable[..., Any]


def define(name: str, scan: Scan, devices: str | None = None) -> tuple[Operator, Operator]:
    """Make the operators `mambats::<name>_forward` and `mambats::<name>_backward`, with fakes and autograd.

    Args:
        name: Of the pair.
        scan: What they do.
        devices: Kind of device they are for; None for any.

    Returns:
        Both; they take the tensors of `Inputs`, then the options, one by one.
    """

    def run_forward(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
        return scan.forward(Inputs(*given[:_MANY]), Options(*given[_MANY:-1]), given[-1])

    def run_backward(dy: Tensor | None, dfinal: Tensor | None, *given: Any) -> list[Tensor]:
        tensors, saved, (*options, sloped) = Inputs(*given[:_MANY]), given[_MANY], given[_MANY + 1 :]
        return scan.backward(dy, dfinal, tensors, saved, Options(*options), sloped)

    define_op = partial(torch.library.custom_op, mutates_args=(), device_types=devices)
    forward = define_op(f"mambats::{name}_forward", run_forward, schema=_FORWARD)
    backward = define_op(f"mambats::{name}_backward", run_backward, schema=_BACKWARD)

    def fake_forward(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
        tensors = Inputs(*given[:_MANY])
        final = tensors.A.new_empty((tensors.rows, *tensors.A.shape), dtype=torch.float32)
        saved = tensors.A.new_empty(scan.saved(tensors, given[-1]), dtype=torch.float32)
        return tensors.x.new_empty(tensors.x.shape), final, saved

    def fake_backward(dy: Tensor | None, dfinal: Tensor | None, *given: Any) -> list[Tensor]:
        tensors = Inputs(*given[:_MANY])
        if not given[-1]:
            tensors = tensors._replace(gaps=None)
        return [tensors.x.new_empty(0) if v is None else v.new_empty(v.shape) for v in tensors[:-1]]

    def remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.options = inputs[_MANY:-1]
        ctx.set_materialize_grads(False)  # else zeros as large as the saved states would be made
        ctx.save_for_backward(*inputs[:_MANY], output[2])

    def slopes(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad
        # Who calls backward inside autocast must get the same gradients.
        with torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):
            found = backward(dy, dfinal, *ctx.saved_tensors, *ctx.options, needed[_GAPS])
        return *(v if wanted else None for v, wanted in zip(found, needed, strict=False)), *(None,) * 5

    forward.register_fake(fake_forward)
    backward.register_fake(fake_backward)
    forward.register_autograd(slopes, setup_context=remember)
    return forward, backward
