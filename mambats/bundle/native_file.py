"""A forecaster as the flat file that the native library reads: sizes, then numbers, with a sum over all of it."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mambats.bundle.weights import STORED, Stored, to_bf16, to_int8

_MAGIC, _VERSION = b"MAMBATSN", 1
_CALENDAR = ("hour_of_day", "day_of_week", "day_of_month", "day_of_year")
_NUMBERS = (
    "version", "channels", "past", "horizon", "levels", "middle", "mixing", "period_ns", "cycle", "lookback",
    "identity", "patterns", "calendars", *(f"calendar{k}" for k in range(8)), "layers", "width", "inner", "states",
    "taps", "rank", "hold", "final_norm", "stored",
)  # fmt: skip
_OPTIONS = ("eps", "half_life", "norm_rows", "norm_eps")
Arrays = Mapping[str, npt.NDArray[Any]]


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]
    matrix: bool = False


def native_file(
    facts: Mapping[str, Any],
    layers: Mapping[str, Any] | None,
    weights: Arrays,
    initial: Arrays,
    stored: Stored = "float32",
) -> bytes:
    """Return the content of `native.bin`, which `mambats_open` of `mambats.h` reads.

    Layout: "MAMBATSN", the file's length (uint64), the sha256 of what follows; sizes and options (int64, then float64)
    in the order of `MambatsSizes` in `model.h`; then the tensors that these sizes call for, one behind another.

    Args:
        facts: Of the forecaster, as `mambats.streaming.engines.facts.ForecastFacts.plain` gives them.
        layers: Of its encoder, as `mambats.bundle.native.layers_of` gives them; None for a model that it cannot take.
        weights: By name.
        initial: State before any row, of one row, by name.
        stored: How matrices are; they must be rounded already (`mambats.bundle.weights`).

    Raises:
        ValueError: If the library does not know this model, or a weight is missing or has another shape.
    """
    if layers is None:
        raise ValueError(
            "the native library steps causal Mamba encoders, and this model has another: take the engine onnx."
        )
    numbers = _numbers(facts, layers, weights) | {"stored": STORED.index(stored)}
    rows = float(np.ravel(initial["norm.count"])[0])
    _check_start(initial, rows)
    body = struct.pack(f"<{len(_NUMBERS)}q", *(numbers[name] for name in _NUMBERS))
    body += struct.pack("<4d", float(layers["eps"]), float(layers["half_life"]), rows, float(layers["norm_eps"]))
    parts = [body, *(_bytes(tensor, weights, stored) for tensor in _tensors(numbers))]
    body = b"".join(parts)
    return _MAGIC + struct.pack("<Q", 48 + len(body)) + hashlib.sha256(body).digest() + body


def _numbers(facts: Mapping[str, Any], layers: Mapping[str, Any], weights: Arrays) -> dict[str, int]:
    """Sizes and options, from shapes where shapes say it."""

    def shape(name: str, otherwise: tuple[int, ...]) -> tuple[int, ...]:
        return weights[name].shape if name in weights else otherwise

    kinds = [2 * _CALENDAR.index(n.removesuffix("_number")) + n.endswith("_number") for n in facts["calendar"]]
    mixer = "model.encoder.blocks.0.mixer."
    try:
        (inner, states), rank = weights[f"{mixer}A_log"].shape, weights[f"{mixer}dt_proj.weight"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"the weights make no stack that the native library knows: {error}.") from error
    mixing, count = bool(layers["mixing"]), len(facts["channels"])
    features = sum(2 - kind % 2 for kind in kinds)
    outputs = count if mixing else 1
    if int(layers["outputs"]) != outputs or int(layers["channels"]) != outputs + len(facts["past"]) + features:
        raise ValueError(
            f"the head forecasts {layers['outputs']} series of a token and the encoder reads {layers['channels']} "
            f"columns; the native library needs {outputs} and {outputs + len(facts['past']) + features}: take onnx."
        )
    if len(kinds) > 8 or "model.head.facts.weight" in weights:
        raise ValueError("the native library takes 8 calendar features and no static facts: take the engine onnx.")
    numbers = {
        "version": _VERSION, "channels": count, "past": len(facts["past"]), "horizon": int(facts["horizon"]),
        "levels": len(facts["quantiles"] or ()), "middle": int(layers["middle"]), "mixing": int(mixing),
        "period_ns": int(facts["period_ns"]), "cycle": shape("model.cycle.profile", (0, 0))[0],
        "lookback": shape("model.skip.weight", (0, 0))[1], "identity": int("model.identity" in weights),
        "patterns": shape("model.head.calendar.weight", (0, 0))[0] if kinds else 0,
        "calendars": len(kinds), **{f"calendar{k}": 0 for k in range(8)},
        "layers": int(layers["count"]), "width": int(layers["width"]), "inner": inner, "states": states,
        "taps": shape(f"{mixer}conv_weight", (0, 1))[1], "rank": rank, "hold": int(bool(layers["hold"])),
        "final_norm": int("model.encoder.norm.weight" in weights), "stored": 0,
    }  # fmt: skip
    return numbers | {f"calendar{k}": kind for k, kind in enumerate(kinds)}


def _tensors(n: Mapping[str, int]) -> Iterator[_Tensor]:
    """Yield what follows the numbers, in order; `read_tensors` in `model.cpp` takes the same."""
    count, width, inner, states, rank = n["channels"], n["width"], n["inner"], n["states"], n["rank"]
    outputs = count if n["mixing"] else 1
    features = sum(2 - n[f"calendar{k}"] % 2 for k in range(n["calendars"]))
    columns, raw = outputs + n["past"] + features, n["horizon"] * outputs * max(n["levels"], 1)
    yield from (_Tensor("scaler.mean", (count,)), _Tensor("scaler.scale", (count,)))
    if n["past"]:
        yield from (_Tensor("past.mean", (n["past"],)), _Tensor("past.scale", (n["past"],)))
    if n["cycle"]:
        yield _Tensor("model.cycle.profile", (n["cycle"], count))
    if n["lookback"]:
        yield _Tensor("model.skip.weight", (n["horizon"], n["lookback"]), True)
    if n["identity"]:
        yield _Tensor("model.identity", (count, width))
    yield _Tensor("model.encoder.embedding.weight", (width, 2 * columns + 1), True)
    yield _Tensor("model.encoder.embedding.bias", (width,))
    for k in range(n["layers"]):
        block = f"model.encoder.blocks.{k}."
        mixer = f"{block}mixer."
        yield _Tensor(f"{block}norm.weight", (width,))
        yield _Tensor(f"{mixer}in_proj.weight", (2 * inner, width), True)
        if n["taps"] > 1:
            yield from (_Tensor(f"{mixer}conv_weight", (inner, n["taps"])), _Tensor(f"{mixer}conv_bias", (inner,)))
        yield _Tensor(f"{mixer}x_proj.weight", (rank + 2 * states, inner), True)
        yield from (_Tensor(f"{mixer}dt_proj.weight", (inner, rank)), _Tensor(f"{mixer}dt_bias", (inner,)))
        yield from (_Tensor(f"{mixer}A_log", (inner, states)), _Tensor(f"{mixer}D", (inner,)))
        yield _Tensor(f"{mixer}out_proj.weight", (width, inner), True)
    if n["final_norm"]:
        yield _Tensor("model.encoder.norm.weight", (width,))
    yield from (_Tensor("model.head.project.weight", (raw, width), True), _Tensor("model.head.project.bias", (raw,)))
    if n["patterns"]:
        made = n["patterns"] * outputs
        yield from (
            _Tensor("model.head.patterns.weight", (made, width), True), _Tensor("model.head.patterns.bias", (made,)),
            _Tensor("model.head.calendar.weight", (n["patterns"], features), True),
            _Tensor("model.head.calendar.bias", (n["patterns"],)),
        )  # fmt: skip


def _bytes(tensor: _Tensor, weights: Arrays, stored: Stored) -> bytes:
    array = weights.get(tensor.name)
    if array is None or array.shape != tensor.shape:
        found = None if array is None else array.shape
        raise ValueError(f"the weight {tensor.name} has shape {found}, need {tensor.shape}: export again.")
    if not tensor.matrix or stored == "float32":
        return np.ascontiguousarray(array, "<f4").tobytes()
    if stored == "bf16":
        body = to_bf16(array).astype("<u2").tobytes()
    else:
        whole, scale = to_int8(array)
        body = scale.astype("<f4").tobytes() + whole.tobytes()
    return body + bytes(-len(body) % 4)


def _check_start(initial: Arrays, rows: float) -> None:
    """Refuse a first state that the library would not make: sums of `rows` rows, nothing else."""
    for name, array in initial.items():
        wanted = rows if name in ("norm.count", "norm.square") else name == "encoder.clock.fresh"
        if (array != wanted).any():
            raise ValueError(f"the first state's {name} is not {wanted}, as the native library starts: take onnx.")
