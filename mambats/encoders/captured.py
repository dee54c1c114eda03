"""A whole encoder's step as one recorded graph: what it costs the host does not grow with its layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambats.encoders.causal import CausalEncoder
from mambats.protocols import Encoder, State

Given = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]
_NAMES = ("x_t", "gap_t", "observed_t", "mask_t")


class _Capture(NamedTuple):
    """A recorded step: the graph, the buffers that it reads in the order of `_NAMES`, and the one that it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Given
    y: Tensor


class CapturedStep:
    """Run `encoder.step` for a fixed batch by replaying a CUDA graph, with the same numbers.

    The first step with a combination of arguments records it: it takes about as long as ten steps, and the first call
    on a machine compiles kernels besides. Later ones copy the row in, replay, and copy the answer out. Weights are read
    where they are: training them further is seen; moving them records anew. No gradients, no autocast. On a CPU it runs
    the encoder's own step; without `keep`, where that is one call of the native library, in buffers used again.

    Args:
        encoder: A causal encoder in evaluation mode, whose state keeps its shapes from step to step.
        batch: Rows B of every step.
        keep: Whether answers and states stay as they are after later steps. Without it they are the graph's own
            buffers, overwritten by the next step: less than half the time for a loop that keeps nothing.

    Raises:
        ValueError: If the encoder is not causal, is in training mode, or batch is below 1.

    Example:
        captured = CapturedStep(CausalEncoder(channels=4, width=64, layers=2).eval(), batch=1)
        state = captured.init_state()
        y_t, state = captured.step(torch.randn(1, 4), state=state)
    """

    def __init__(self, encoder: Encoder, batch: int, *, keep: bool = True) -> None:
        if not encoder.causal or encoder.training or batch < 1:
            raise ValueError(
                f"encoder.causal is {encoder.causal}, encoder.training {encoder.training}, batch {batch}: need a "
                "causal encoder after encoder.eval(), and at least one row."
            )
        self.encoder = encoder
        self.batch = batch
        self.keep = keep
        self._weights = [*encoder.parameters(), *encoder.buffers()]
        self._addresses: list[int] = []
        self._captures: dict[tuple[torch.dtype | None, ...], _Capture] = {}
        self._store = _Store(encoder.init_state(batch))

    def init_state(self) -> State:
        """Return the state before any row."""
        return self.encoder.init_state(self.batch)

    @torch.inference_mode(mode=False)  # else buffers made inside could not be written outside
    @torch.no_grad()
    def step(
        self,
        x_t: Tensor,
        gap_t: Tensor | None = None,
        *,
        observed_t: Tensor | None = None,
        mask_t: Tensor | None = None,
        state: State,
    ) -> tuple[Tensor, State]:
        """Encode one row x_t (B, C); arguments, answer and state as in `mambats.protocols.Encoder.step`.

        Raises:
            ValueError: If an argument or the state has another shape or device than the batch and the encoder need.
        """
        if not x_t.is_cuda:
            done = None
            if not self.keep and isinstance(self.encoder, CausalEncoder):
                done = self.encoder._native.step(self.encoder, x_t, gap_t, observed_t, mask_t, state, keep=False)
            return done or self.encoder.step(x_t, gap_t, observed_t=observed_t, mask_t=mask_t, state=state)
        given: Given = (x_t, gap_t, observed_t, mask_t)
        addresses = [weight.data_ptr() for weight in self._weights]
        if addresses != self._addresses:
            self._captures.clear()
            self._addresses, self._store = addresses, _Store(self.init_state())
        self._store.load(state)
        kind = tuple(None if value is None else value.dtype for value in given)
        capture = self._captures.get(kind) or self._record(kind, given)
        for name, buffer, value in zip(_NAMES, capture.inputs, given, strict=True):
            if buffer is not None and value is not None:  # both or neither, by kind
                _copy(name, buffer, value)
        capture.graph.replay()
        return capture.y.clone() if self.keep else capture.y, self._store.hand_out(self.keep)

    def _record(self, kind: tuple[torch.dtype | None, ...], given: Given) -> _Capture:
        """Run the step once to warm it up, then record it; neither changes the state that is held."""
        inputs: Given = (given[0].clone(), _cloned(given[1]), _cloned(given[2]), _cloned(given[3]))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(given[0].device), torch.autocast("cuda", enabled=False):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                self._store.check(self._run(inputs)[1], exact=True)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(graph):
                y, following = self._run(inputs)
                self._store.write(following)
        capture = self._captures[kind] = _Capture(graph, inputs, y)
        return capture

    def _run(self, given: Given) -> tuple[Tensor, State]:
        x_t, gap_t, observed_t, mask_t = given
        return self.encoder.step(x_t, gap_t, observed_t=observed_t, mask_t=mask_t, state=self._store.tree)


def _cloned(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.clone()


def _copy(name: str, buffer: Tensor, value: Tensor) -> None:
    if value.shape != buffer.shape or value.device != buffer.device:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)} on {value.device}: this step was recorded for "
            f"{tuple(buffer.shape)} on {buffer.device}. Give the same batch there, or make another CapturedStep."
        )
    buffer.copy_(value)


class _Store:
    """A state in one buffer a dtype, so that handing out a copy is one operation a dtype, whatever the layers.

    Args:
        like: A state of the form to be stored.
    """

    @torch.inference_mode(mode=False)
    def __init__(self, like: State) -> None:
        leaves = list(_leaves(like))
        self._forms = [(leaf.shape, leaf.dtype) for leaf in leaves]
        # Large ones first: their sizes are mostly multiples of 16 bytes, so that kernels can load four states at once.
        order = sorted(range(len(leaves)), key=lambda i: -leaves[i].numel())
        self._members = {
            dtype: [i for i in order if leaves[i].dtype == dtype] for dtype in dict.fromkeys(v.dtype for v in leaves)
        }
        self._buffers = [torch.cat([leaves[i].flatten() for i in own]) for own in self._members.values()]
        self._like = like
        self.tree = self._shape(self._buffers)
        self._held = list(_leaves(self.tree))
        # What was handed out last, and how often its buffers had been written then: it need not be read back.
        self._last: tuple[State, list[Tensor], list[int]] | None = None

    def load(self, state: State) -> None:
        """Take over a state, unless it is the one held."""
        if state is self.tree or (self._last is not None and state is self._last[0] and self._untouched()):
            return
        self.check(state)
        self._last = None
        self.write(state)

    @torch.no_grad()
    def write(self, state: State) -> None:
        """Copy a state of the right form in."""
        torch._foreach_copy_(self._held, list(_leaves(state)))  # pyright: ignore[reportPrivateImportUsage]

    def hand_out(self, keep: bool) -> State:
        """Give the state held: a copy, or itself."""
        if not keep:
            self._last = None
            return self.tree
        copies = [buffer.clone() for buffer in self._buffers]
        self._last = (self._shape(copies), copies, [copy._version for copy in copies])
        return self._last[0]

    def check(self, state: State, *, exact: bool = False) -> None:
        """Refuse a state of another form.

        Raises:
            ValueError: If it has other shapes, or with `exact` other dtypes.
        """
        leaves = list(_leaves(state))
        given, needed = [tuple(leaf.shape) for leaf in leaves], [tuple(shape) for shape, _ in self._forms]
        same = not exact or [leaf.dtype for leaf in leaves] == [dtype for _, dtype in self._forms]
        if given != needed or not same:
            raise ValueError(
                f"the state has tensors of shapes {given}, needed {needed} in the dtypes of init_state: start from "
                "init_state(), and take an encoder whose state keeps its shapes from step to step."
            )

    def _untouched(self) -> bool:
        return self._last is not None and [copy._version for copy in self._last[1]] == self._last[2]

    def _shape(self, buffers: list[Tensor]) -> State:
        """Cut buffers into a state of the stored form."""
        found: list[Tensor] = [buffers[0]] * len(self._forms)
        for own, buffer in zip(self._members.values(), buffers, strict=True):
            pieces = buffer.split([self._forms[i][0].numel() for i in own])
            for i, piece in zip(own, pieces, strict=True):
                found[i] = piece.view(self._forms[i][0])
        return _rebuilt(self._like, iter(found))


def _leaves(tree: Any) -> Iterator[Tensor]:
    """Walk over the tensors of a state."""
    if isinstance(tree, Tensor):
        yield tree
    else:
        for child in tree:
            yield from _leaves(child)


def _rebuilt(like: Any, leaves: Iterator[Tensor]) -> Any:
    """Build a state of the form of `like` from tensors in the order of `_leaves`."""
    if isinstance(like, Tensor):
        return next(leaves)
    children = [_rebuilt(child, leaves) for child in like]
    return type(like)(*children) if hasattr(like, "_fields") else tuple(children)
