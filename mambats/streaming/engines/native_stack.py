"""A stack of state-space layers, one token in one call of the native library, on numpy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from operator import is_
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mambats.streaming.engine import BoolArray, FloatArray, State
from mambats.streaming.engines.library import open_library

Arrays: TypeAlias = tuple[npt.NDArray[Any], ...]
_ENCODER = "model.encoder."
#: Where each weight of a layer stands in a block, in the order of the library.
_LAYER = {
    "norm": "norm.weight",
    "in_proj": "mixer.in_proj.weight",
    "conv_weight": "mixer.conv_weight",
    "conv_bias": "mixer.conv_bias",
    "x_proj": "mixer.x_proj.weight",
    "dt_proj": "mixer.dt_proj.weight",
    "dt_bias": "mixer.dt_bias",
    "A_log": "mixer.A_log",
    "D": "mixer.D",
    "out_proj": "mixer.out_proj.weight",
}


class NativeStack:
    """The encoder of a forecaster, stepped by the native library on one thread.

    Args:
        layers: Sizes and options, from `mambats.bundle.native.layers_of`.
        weights: Of the model, by name.
        fold: Sequences a series: C where every channel is one.

    Raises:
        ValueError: If there is no library, or a weight has another shape or is missing.
    """

    def __init__(self, layers: Mapping[str, Any], weights: Mapping[str, npt.NDArray[Any]], fold: int) -> None:
        self._library, self._blocks = open_library()
        self._layers, self._fold = layers, fold
        count = int(layers["count"])
        self._kept = {
            name.removeprefix(_ENCODER): np.ascontiguousarray(array, np.float32)
            for name, array in weights.items()
            if name.startswith(_ENCODER)
        }
        self._check(count)
        first = self._kept["blocks.0.mixer.A_log"]
        self._inner, self._states = first.shape
        conv = self._kept.get("blocks.0.mixer.conv_weight")
        self._taps = 1 if conv is None else conv.shape[1]
        shapes = [((self._taps - 1, self._inner), np.float32), ((self._inner, self._states), np.float32)] * count
        names = [f"encoder.layers.{k}.{part}" for k in range(count) for part in ("conv", "ssm")]
        self.names = ("encoder.clock.pending", "encoder.clock.fresh", *names)
        self._forms: list[tuple[tuple[int, ...], type]] = [((), np.float32), ((), np.bool_), *shapes]
        self._pack = self._blocks.token(count).pack
        self._width = int(layers["width"])
        self._plans: dict[int, Any] = {}
        # The state that the last step made, and where it lies.
        self._recent: tuple[Arrays, list[int]] = ((), [])

    def step(
        self, x: FloatArray, gap: FloatArray, observed: BoolArray, state: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[FloatArray, State]:
        """Take one token.

        Args:
            x: Shape (R, channels), contiguous, as gap (R,) and observed.
            gap: In reference periods.
            observed: Which were measured.
            state: Arrays (rows, [fold,] ...) by name.

        Returns:
            Token (R, width) and the next state.

        Raises:
            MemoryError: If the library found none.
        """
        plan = self._plans.get(len(x)) or self._plan(len(x))
        before = tuple([state[name] for name in self.names])
        held, places = self._recent
        if len(held) != len(before) or not all(map(is_, before, held)):
            self.check_state(state)
            before = tuple([np.ascontiguousarray(array) for array in before])
            places = [array.ctypes.data for array in before]
        token, after, reached = self._room(len(x), before)
        moving = self._pack(
            x.ctypes.data, gap.ctypes.data, observed.ctypes.data, 0, token.ctypes.data, *places, *reached
        )
        if self._library.mambats_stack_step(plan, moving):
            raise MemoryError("the native step found no memory for its buffers: give fewer rows.")
        # A state usually comes back as it left: then it is known where it lies. Held, so that nothing else lies there.
        self._recent = after, reached
        return token, dict(zip(self.names, after, strict=True))

    def _room(self, rows: int, before: tuple[npt.NDArray[Any], ...]) -> tuple[FloatArray, Arrays, list[int]]:
        """Make room for a token and a state; all its numbers in one array, which takes a third of the time."""
        numbers = sum(array.size for array in before) - before[1].size
        room, fresh = np.empty(numbers, np.float32), np.empty_like(before[1])
        base, end = room.ctypes.data, 0
        after, places = list[npt.NDArray[Any]](), list[int]()
        for k, array in enumerate(before):
            if k == 1:
                after.append(fresh)
                places.append(fresh.ctypes.data)
                continue
            begin, end = end, end + array.size
            after.append(room[begin:end].reshape(array.shape))
            places.append(base + 4 * begin)
        return np.empty((rows, self._width), np.float32), tuple(after), places

    def check_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Refuse a state that the library would read past its end.

        Raises:
            ValueError: Naming the array.
        """
        for name, (shape, dtype) in zip(self.names, self._forms, strict=True):
            fold = () if self._fold == 1 else (self._fold,)
            array = state.get(name)
            if array is None or array.shape[1:] != (*fold, *shape) or array.dtype != dtype:
                found = None if array is None else (array.shape, str(array.dtype))
                raise ValueError(f"the state's {name} is {found}: need (rows, {(*fold, *shape)}) {dtype.__name__}.")

    def _plan(self, rows: int) -> Any:
        at, blocks = self._at, self._blocks
        count, layers = int(self._layers["count"]), self._layers
        dt_proj = self._kept["blocks.0.mixer.dt_proj.weight"]
        stack = blocks.Stack(
            rows, int(layers["channels"]), int(layers["width"]), count, self._inner, self._states, self._taps,
            dt_proj.shape[1], bool(layers["hold"]), 1, float(layers["eps"]),
            at("embedding.weight"), at("embedding.bias"), at("norm.weight"),
            (blocks.Layer * count)(*[
                blocks.Layer(*[at(f"blocks.{k}.{name}") for name in _LAYER.values()]) for k in range(count)
            ]),
        )  # fmt: skip
        stack.derived = (ctypes.c_float * self._library.mambats_stack_floats(stack))()
        self._library.mambats_stack_derive(stack)
        self._plans = {rows: stack}
        return stack

    def _at(self, name: str) -> int | None:
        array = self._kept.get(name)
        return None if array is None else array.ctypes.data

    def _check(self, count: int) -> None:
        """Refuse weights that do not fit together: the library would read past their end."""
        layers, kept = self._layers, self._kept
        try:
            width, (inner, states) = int(layers["width"]), kept["blocks.0.mixer.A_log"].shape
            rank, conv = kept["blocks.0.mixer.dt_proj.weight"].shape[1], kept.get("blocks.0.mixer.conv_weight")
            taps = None if conv is None else conv.shape[1]
        except (KeyError, ValueError, IndexError) as error:
            raise ValueError(f"the weights make no stack that the native library knows: {error}.") from error
        layer: dict[str, tuple[int, ...] | None] = {
            "norm": (width,),
            "in_proj": (2 * inner, width),
            "conv_weight": None if taps is None else (inner, taps),
            "conv_bias": None if taps is None else (inner,),
            "x_proj": (rank + 2 * states, inner),
            "dt_proj": (inner, rank),
            "dt_bias": (inner,),
            "A_log": (inner, states),
            "D": (inner,),
            "out_proj": (width, inner),
        }
        wanted: dict[str, tuple[int, ...] | None] = {
            "embedding.weight": (width, 2 * int(layers["channels"]) + 1),
            "embedding.bias": (width,),
            **{f"blocks.{k}.{_LAYER[name]}": shape for k in range(count) for name, shape in layer.items()},
        }
        if "norm.weight" in kept:
            wanted["norm.weight"] = (width,)
        found = {name: kept[name].shape if name in kept else None for name in wanted}
        wrong = {name: shape for name, shape in found.items() if shape != wanted[name]}
        if wrong or count < 1 or taps == 1:
            raise ValueError(f"the weights have shapes {wrong}, need {[wanted[name] for name in wrong]}: export again.")
