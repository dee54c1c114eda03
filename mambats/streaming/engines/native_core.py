"""Steps of a forecaster by the native library and numpy: no torch, no ONNX Runtime, and the fastest on one core."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.streaming.engine import BoolArray, FloatArray, Int64Array, State
from mambats.streaming.engines.facts import ForecastFacts
from mambats.streaming.engines.forecast import read_by_steps
from mambats.streaming.engines.native_stack import NativeStack

_NORM = ("norm.count", "norm.total", "norm.square")


class NativeCore:
    """The forecaster's step as `mambats.forecast.Forecaster.step` has it, its encoder in one call of the library.

    Args:
        facts: Of the forecaster, as plain values.
        layers: Sizes and options of its encoder; None for a model that the library does not know.
        weights: By name.
        initial: State before any row, of one row.

    Raises:
        ValueError: If there is no library, or it does not know this model.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        layers: Mapping[str, Any] | None,
        weights: Mapping[str, npt.NDArray[Any]],
        initial: State,
    ) -> None:
        if layers is None:
            raise ValueError(
                "the native library steps causal Mamba encoders, and this model has another: take the engine onnx."
            )
        self._facts, self._layers, self._weights, self._initial = ForecastFacts.of(facts), layers, weights, initial
        self._channels = len(self._facts.channels)
        self._fold = 1 if layers["mixing"] else self._channels
        self._stack = NativeStack(layers, weights, self._fold)
        self._profile, self._skip = weights.get("model.cycle.profile"), weights.get("model.skip.weight")
        self._ahead = np.arange(1, self._facts.horizon + 1)
        self._rate = -math.log(2.0) / float(layers["half_life"])
        self._stack.check_state(initial)

    def init_state(self, rows: int) -> State:
        """Return the model's state before any row."""
        return {name: np.repeat(array, rows, 0) for name, array in self._initial.items()}

    def read(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[FloatArray, State]:
        """Take T > 0 rows; see `mambats.streaming.engines.forecast.Core.read`."""
        return read_by_steps(self, feed, state)

    def step(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[FloatArray, State]:
        """Take one row; see `mambats.streaming.engines.forecast.Core.step`."""
        weights, count, gap = self._weights, self._channels, feed["gap"]
        seen = feed["observed"][:, :count]
        values = np.where(seen, (feed["x"][:, :count] - weights["scaler.mean"]) / weights["scaler.scale"], 0.0)
        ahead = None
        if self._profile is not None:
            period, clock = len(self._profile), feed["clock"]
            values = values - self._profile[clock % period]
            ahead = self._profile[(clock[:, None] + self._ahead) % period]
        values = values.astype(np.float32, copy=False)
        location, scale, after = self._moments(values, gap, seen, state)
        x, observed = self._inputs(feed, (values - location) / scale * seen, seen)
        token, encoder = self._stack.step(x, np.repeat(gap, self._fold), observed, state)
        base, skip = self._base(values, gap, seen, location, state)
        forecast = self._decode(token, base, scale, feed.get("future"))
        levels = forecast.ndim == 4
        if ahead is not None:
            forecast = forecast + (ahead[..., None] if levels else ahead)
        turn = (slice(None), None) if levels else slice(None)
        forecast = forecast * weights["scaler.scale"][turn] + weights["scaler.mean"][turn]
        made = {**after, **encoder, **skip}
        return forecast.astype(np.float32, copy=False), {name: made[name] for name in self._initial}

    def _moments(
        self, values: FloatArray, gap: FloatArray, seen: BoolArray, state: State
    ) -> tuple[FloatArray, FloatArray, State]:
        """The running mean and deviation, this row included: `mambats.scale.RunningNorm`."""
        decay = np.exp(gap.astype(np.float64) * self._rate)[:, None]
        there, exact = seen.astype(np.float64), values.astype(np.float64)
        terms = (there, there * exact, there * exact * exact)
        count, total, square = (decay * state[name] + term for name, term in zip(_NORM, terms, strict=True))
        mean = total / count
        scale = np.sqrt(np.maximum(square / count - mean * mean, 0) + float(self._layers["norm_eps"]))
        return mean.astype(np.float32), scale.astype(np.float32), dict(zip(_NORM, (count, total, square), strict=True))

    def _inputs(
        self, feed: Mapping[str, npt.NDArray[Any]], x: FloatArray, seen: BoolArray
    ) -> tuple[FloatArray, BoolArray]:
        """What the encoder reads: one sequence a channel unless mixing, covariates beside."""
        fold, count = self._fold, self._channels
        own = (x, seen) if self._layers["mixing"] else (x.reshape(-1, 1), seen.reshape(-1, 1))
        columns, flags = [own[0]], [own[1]]
        extras = list[FloatArray]()
        if self._facts.past:
            raw, known = feed["x"][:, count:], feed["observed"][:, count:]
            extras.append(np.where(known, (raw - self._weights["past.mean"]) / self._weights["past.scale"], 0.0))
        if "future" in feed:
            extras.append(feed["future"][:, 0])
        for extra in extras:
            columns.append(np.repeat(extra, fold, 0))
            flags.append(np.ones_like(columns[-1], np.bool_))
        if not extras:
            return np.ascontiguousarray(columns[0], np.float32), np.ascontiguousarray(flags[0])
        return np.concatenate(columns, 1).astype(np.float32), np.concatenate(flags, 1)

    def _base(
        self, values: FloatArray, gap: FloatArray, seen: BoolArray, location: FloatArray, state: State
    ) -> tuple[FloatArray, State]:
        """What the head's answer is added to: `mambats.forecast.LinearSkip`, or the mean."""
        if self._skip is None:
            return location[:, None], {}
        history, flags = _moved(state["skip.values"], state["skip.observed"], np.rint(gap).astype(np.int64))
        history[:, -1], flags[:, -1] = values, seen
        weight = flags.astype(np.float32)
        mean = (history * weight).sum(1, keepdims=True) / np.maximum(weight.sum(1, keepdims=True), 1)
        return mean + self._skip @ ((history - mean) * weight), {"skip.values": history, "skip.observed": flags}

    def _decode(self, token: FloatArray, base: FloatArray, scale: FloatArray, future: FloatArray | None) -> FloatArray:
        """`mambats.forecast.DirectHead`, and back to scaled units."""
        weights, fold, outputs = self._weights, self._fold, int(self._layers["outputs"])
        if "model.identity" in weights:
            token = token + np.tile(weights["model.identity"], (len(token) // self._channels, 1))
        horizon, middle = self._facts.horizon, int(self._layers["middle"])
        raw = token @ weights["model.head.project.weight"].T + weights["model.head.project.bias"]
        raw = raw.reshape(len(token), horizon, outputs, -1)
        centre: FloatArray = raw[..., middle].copy()
        if "model.head.patterns.weight" in weights and future is not None:
            pattern = token @ weights["model.head.patterns.weight"].T + weights["model.head.patterns.bias"]
            known = future[:, 1:] @ weights["model.head.calendar.weight"].T + weights["model.head.calendar.bias"]
            centre += np.repeat(known, fold, 0) @ pattern.reshape(len(token), outputs, -1).transpose(0, 2, 1)
        out = centre[..., None] if self._facts.quantiles is None else _spread(centre, raw, middle)
        if not self._layers["mixing"]:
            out = out[:, :, 0].reshape(-1, fold, horizon, out.shape[-1]).transpose(0, 2, 1, 3)
        answer = base[..., None] + scale[:, None, :, None] * out
        return (answer[..., 0] if self._facts.quantiles is None else answer).astype(np.float32, copy=False)


def _spread(centre: FloatArray, raw: FloatArray, middle: int) -> FloatArray:
    """Quantiles that cannot cross: the middle, and running sums of softplus about it."""
    steps = np.logaddexp(raw, np.float32(0))
    above = centre[..., None] + steps[..., middle + 1 :].cumsum(-1)
    below = centre[..., None] - steps[..., :middle][..., ::-1].cumsum(-1)[..., ::-1]
    return np.concatenate([below, centre[..., None], above], -1, dtype=np.float32)


def _moved(values: FloatArray, flags: BoolArray, places: Int64Array) -> tuple[FloatArray, BoolArray]:
    """Move histories (B, L, C) by so many places (B,); the newest place is left for the row that comes."""
    length = values.shape[1]
    if (places == 1).all():  # a regular row: no index
        moved, there = np.empty_like(values), np.empty_like(flags)
        moved[:, :-1], there[:, :-1] = values[:, 1:], flags[:, 1:]
        return moved, there
    source = places[:, None] + np.arange(length)
    inside = (source < length)[..., None]
    index = np.clip(source, 0, length - 1)[..., None]
    return np.take_along_axis(values, index, 1), np.take_along_axis(flags, index, 1) & inside
