"""A causal encoder's step in one call of the native CPU library, where nothing but numbers is asked for.

The answers are those of the operations that it takes the place of, to rounding. Torch's own price of an operation, some
microseconds, would else be paid 150 times a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from operator import attrgetter, eq
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules

from mambats.encoders.compact import Clock
from mambats.encoders.embed import Embedding
from mambats.mixers.block import Block
from mambats.mixers.mamba import Mamba, MambaState
from mambats_kernels import backend
from mambats_kernels.eager import plain, untraced
from mambats_kernels.native.step import LayerWeights, StackStep, StackWeights

if TYPE_CHECKING:
    from mambats.encoders.causal import CausalEncoder, CausalState

_REMEMBERED = (
    16  # rows up to which the last state is recognised; with more, looking at it costs nothing beside the work
)
_training, _address = attrgetter("training"), Tensor.data_ptr


def _chosen() -> bool:
    return backend.chosen_backend("selective_scan", "cpu", torch.float32) == "native"


class NativeStep:
    """Take a causal encoder's steps while it can, and say when it cannot.

    Everything that could change what a step means is looked at in each: other parameters or modules, hooks, dropout,
    back-end, modes of torch. Values of parameters are read where they lie.
    """

    def __init__(self) -> None:
        self._plan: _Plan | None = None
        self._forced = backend._argument
        self._chosen = _chosen()

    def __reduce__(self) -> tuple[type[NativeStep], tuple[()]]:
        """Copies and pickles start without a plan: it holds addresses."""
        return NativeStep, ()

    def step(
        self,
        encoder: CausalEncoder,
        x: Tensor,
        gap: Tensor | None,
        observed: Tensor | None,
        mask: Tensor | None,
        state: CausalState,
        keep: bool = True,
    ) -> tuple[Tensor, Any] | None:
        """Take one row (B, C) as `CausalEncoder.step`, or return None where torch operations must, or must refuse.

        Without `keep`, answer and state are overwritten by the step after the next.
        """
        if torch.is_grad_enabled() or not untraced() or torch.is_autocast_enabled("cpu"):
            return None
        # The choice hangs on this alone, and is made anew only when it changes: it would cost a twentieth of a step.
        if backend._argument is not self._forced:
            self._forced = backend._argument
            self._chosen = _chosen()
        if not self._chosen:
            return None
        plan = self._plan
        if plan is None or plan.rows != x.shape or not plan.holds(encoder):
            plan = self._plan = _Plan.of(encoder, x)
        return None if plan is None else plan.step(x, gap, observed, mask, state, keep)


# A state that was read or made: itself, its tensors (clock, then layers), and where they lie. Plain tuples, and so is a
# room: a named one takes a hundredth of a step to make.
_Seen = tuple[Any, list[Tensor], list[int]]
# Where a step writes its answer and the next state.
_Room = tuple[Tensor, _Seen]


class _Plan:
    """The library's view of an encoder for one batch size, and what must stay as it is for the view to be right."""

    def __init__(self, encoder: CausalEncoder, weights: StackWeights, batch: int) -> None:
        self.rows = (batch, encoder.channels)
        self._y = torch.empty((batch, encoder.width), dtype=torch.float32)
        self._parameters = weights.tensors()
        # A weight that moves leaves its old place alive here: no other tensor can come to lie there.
        self._kept = [weight.detach() for weight in self._parameters]
        self._stack = StackStep(weights, batch)
        self._root = encoder._modules
        self._members = [members for members in _members(encoder) if members]
        self._copies = [dict(members) for members in self._members]
        self._hooks = list(_hooks(encoder))
        blocks: list[Any] = list(encoder.blocks)
        self._drops = [block.drop for block in blocks]
        mixer: Mamba = blocks[0].mixer
        taps, inner, states = mixer._s.conv_width, mixer.inner, mixer._s.state_size
        self._shapes = [(batch,), (batch,), *[(batch, max(taps - 1, 0), inner), (batch, inner, states)] * len(blocks)]
        self._recent: tuple[_Seen, ...] = ()
        self._rooms: tuple[_Room, _Room] | None = None

    @classmethod
    def of(cls, encoder: CausalEncoder, x: Tensor) -> _Plan | None:
        """Make a plan for rows x, or None for what the library does not know."""
        if x.dim() != 2 or x.shape[1] != encoder.channels or x.numel() == 0:
            return None
        weights = _weights(encoder)
        if weights is None:
            return None
        try:
            plan = cls(encoder, weights, x.shape[0])
        except ValueError:  # shapes that do not fit together: torch says of which operation
            return None
        return plan if plan.holds(encoder) else None

    def holds(self, encoder: CausalEncoder) -> bool:
        """Whether the encoder is still what it was, and would run without hooks and dropout."""
        if any(map(_training, self._drops)) and any(drop.training and drop.p for drop in self._drops):
            return False
        try:
            # Dictionaries take the same object for equal. Another tensor gives no single truth, which is an error.
            same = encoder._modules is self._root and all(map(eq, self._members, self._copies))
        except RuntimeError:
            return False
        return same and list(map(_address, self._parameters)) == self._stack.places and not any(self._hooks)

    def step(
        self,
        x: Tensor,
        gap: Tensor | None,
        observed: Tensor | None,
        mask: Tensor | None,
        state: CausalState,
        keep: bool,
    ) -> tuple[Tensor, Any] | None:
        """Take one row, or return None if an argument is not as the library reads it."""
        before = self._read(state)
        if (
            before is None
            or not _fits(x, self.rows, torch.float32)
            or (gap is not None and not _fits(gap, self.rows[:1], torch.float32))
            or (observed is not None and not _fits(observed, self.rows, torch.bool))
            or (mask is not None and not _fits(mask, self.rows[:1], torch.bool))
        ):
            return None
        y, after = self._room(before) if keep else self._next_room(before)
        self._stack(
            [
                x.data_ptr(),
                0 if gap is None else gap.data_ptr(),
                0 if observed is None else observed.data_ptr(),
                0 if mask is None else mask.data_ptr(),
                y.data_ptr(),
                *before[2],
                *after[2],
            ]
        )
        if keep:
            self._recent = (after,) if self.rows[0] <= _REMEMBERED else ()
        return y, after[0]

    def _read(self, state: CausalState) -> _Seen | None:
        """Find the tensors of a state; None if they are not as the library reads them."""
        for seen in self._recent:
            if state is seen[0] and list(map(_address, seen[1])) == seen[2]:
                return seen
        tensors = [*state.clock, *(tensor for layer in state.layers for tensor in layer)]
        kinds = [torch.float32, torch.bool, *[torch.float32] * (len(self._shapes) - 2)]
        right = len(tensors) == len(self._shapes) and all(map(_fits, tensors, self._shapes, kinds))
        return (state, tensors, list(map(_address, tensors))) if right else None

    def _room(self, before: _Seen) -> _Room:
        """Make room for an answer and a state."""
        y, *tensors = map(torch.empty_like, (self._y, *before[1]))
        # As `MambaState(conv, ssm)` for each layer and so on, at a third of the time.
        layers = tuple(map(tuple.__new__, repeat(MambaState), zip(tensors[2::2], tensors[3::2], strict=True)))
        state = tuple.__new__(type(before[0]), (tuple.__new__(Clock, tensors[:2]), layers))
        return y, (state, tensors, list(map(_address, tensors)))

    def _next_room(self, before: _Seen) -> _Room:
        """Find the room that does not hold the state before: two take turns."""
        if self._rooms is None or not any(seen[0] is before[0] for seen in self._recent):
            self._rooms = (self._room(before), self._room(before))
            self._recent = (self._rooms[0][1], self._rooms[1][1])
        first, second = self._rooms
        return second if before[0] is first[1][0] else first


def _fits(tensor: Tensor, shape: tuple[int, ...], kind: torch.dtype) -> bool:
    return (
        type(tensor) is Tensor
        and tensor.dtype is kind
        and tensor.shape == shape
        and tensor.is_cpu
        and tensor.is_contiguous()
    )


def _weights(encoder: CausalEncoder) -> StackWeights | None:
    """Read an encoder's weights; None unless every part is one whose arithmetic the library knows."""
    blocks: list[Any] = list(encoder.blocks)
    last: Any = encoder.norm
    norms = [block.norm for block in blocks] + ([last] if type(last) is not nn.Identity else [])
    mixers = [block.mixer for block in blocks]
    known = (
        len(blocks) > 0
        and type(encoder.embedding) is Embedding
        and all(type(block) is Block for block in blocks)
        and all(type(mixer) is Mamba and not mixer._s.time_invariant for mixer in mixers)
        and all(type(part) is nn.Linear and part.bias is None for mixer in mixers for part in mixer.children())
        and all(type(block.drop) is nn.Dropout for block in blocks)
        and all(type(norm) is nn.RMSNorm for norm in norms)
        and len({(norm.eps, norm.normalized_shape) for norm in norms}) == 1
        and len({(mixer.inner, mixer.dt_rank, mixer.has_conv, mixer._s) for mixer in mixers}) == 1
        and not any({"forward", "step"} & vars(part).keys() for part in encoder.modules())
    )
    if not known:
        return None
    weights = StackWeights(
        encoder.embedding.weight,
        encoder.embedding.bias,
        None if len(norms) == len(blocks) else norms[-1].weight,
        tuple(map(_layer, blocks)),
        mixers[0]._s.hold,
        norms[0].eps,
    )
    tensors = weights.tensors()
    # A weight of one number could be taken for another of the same value.
    right = all(_fits(weight.detach(), tuple(weight.shape), torch.float32) and weight.numel() > 1 for weight in tensors)
    return weights if right and plain(tuple(tensors)) else None


def _layer(block: Any) -> LayerWeights:
    mixer: Mamba = block.mixer
    return LayerWeights(
        norm=block.norm.weight,
        in_proj=mixer.in_proj.weight,
        conv_weight=mixer.conv_weight if mixer.has_conv else None,
        conv_bias=mixer.conv_bias if mixer.has_conv else None,
        x_proj=mixer.x_proj.weight,
        dt_proj=mixer.dt_proj.weight,
        dt_bias=mixer.dt_bias,
        A_log=mixer.A_log,
        D=mixer.D,
        out_proj=mixer.out_proj.weight,
    )


def _members(encoder: nn.Module) -> Iterator[dict[str, Any]]:
    """Where parts and parameters of an encoder are looked up."""
    for part in encoder.modules():
        yield part._modules
        yield part._parameters


def _hooks(encoder: nn.Module) -> Iterator[dict[Any, Any]]:
    """Where hooks that a step would run are registered."""
    yield modules._global_forward_hooks
    yield modules._global_forward_pre_hooks
    for part in encoder.modules():
        yield part._forward_hooks
        yield part._forward_pre_hooks
