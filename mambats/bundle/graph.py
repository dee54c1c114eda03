"""ONNX graphs of a forecaster: one row (`step`), and a run of rows of any length in one Scan node (`prefill`)."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from mambats.bundle.flat import FlatForecaster
from mambats.bundle.layout import NEXT, OPSET, STATE
from mambats_kernels.backend import use_backend

_PROBE_ROWS = 3  # not 1: a batch of one would be taken for a constant


class _Step(nn.Module):
    """Take inputs and state as lists, in the order that the graph names them."""

    def __init__(self, model: FlatForecaster) -> None:
        super().__init__()
        self.model = model
        self.inputs = input_names(model)

    def one(self, inputs: Sequence[Tensor], state: Sequence[Tensor]) -> list[Tensor]:
        given: dict[str, Any] = dict(zip(self.inputs, inputs, strict=True))
        before = dict(zip(self.model.names, state, strict=True))
        forecast, after = self.model(
            given["x"], given["observed"], given["gap"], given.get("clock"), given.get("future"), before
        )
        return [forecast, *after.values()]

    def forward(self, inputs: list[Tensor], state: list[Tensor]) -> list[Tensor]:
        return self.one(inputs, state)


class _Prefill(_Step):
    """Take rows (T, B, ...) one after another; give the forecast after the last and the state there."""

    def forward(self, inputs: list[Tensor], state: list[Tensor]) -> list[Tensor]:
        batch, facts = inputs[0].shape[1], self.model.facts

        def body(carry: list[Tensor], rows: list[Tensor]) -> tuple[list[Tensor], Tensor]:
            # A body may not hand on what it was given, and must keep the layout: every result is a plain copy.
            return [v.clone(memory_format=torch.contiguous_format) for v in self.one(rows, carry[1:])], rows[
                0
            ].new_zeros(1)

        forecast = inputs[0].new_zeros((batch, *facts.shape))
        carry, _ = scan(body, [forecast, *state], list(inputs))
        return list(carry)


def input_names(model: FlatForecaster) -> tuple[str, ...]:
    """Return what the graphs read besides the state, in order."""
    facts = model.facts
    return ("x", "observed", "gap", *(["clock"] if facts.clock else []), *(["future"] if facts.calendar else []))


def step_graph(model: FlatForecaster) -> bytes:
    """Export one step, for any number of rows.

    Args:
        model: In evaluation mode.

    Returns:
        An ONNX file: inputs `x (B, C + P)`, `observed`, `gap (B,)`, `clock`, `future` and `state.NAME`; outputs
        `forecast` and `next.NAME`.
    """
    inputs, state = _probe(model)
    rows = torch.export.Dim("rows", min=1, max=1 << 16)
    shapes = ([{0: rows} for _ in inputs], [{0: rows} for _ in state])
    return _export(_Step(model), inputs, state, shapes)


def prefill_graph(model: FlatForecaster) -> bytes:
    """Export a run of T rows of B series, T and B free: inputs of `step` with T before them, the same state.

    Args:
        model: In evaluation mode.

    Returns:
        An ONNX file; its `forecast` is the one after the last row.
    """
    inputs, state = _probe(model)
    rows, length = torch.export.Dim("rows", min=1, max=1 << 16), torch.export.Dim("length", min=1, max=1 << 30)
    shapes = ([{0: length, 1: rows} for _ in inputs], [{0: rows} for _ in state])
    return _export(_Prefill(model), [torch.stack([v] * 5) for v in inputs], state, shapes)


def _probe(model: FlatForecaster) -> tuple[list[Tensor], list[Tensor]]:
    facts, rows = model.facts, _PROBE_ROWS
    width = len(facts.columns)
    inputs = [torch.zeros(rows, width), torch.ones(rows, width, dtype=torch.bool), torch.ones(rows)]
    if facts.clock:
        inputs.append(torch.zeros(rows, dtype=torch.int64))
    if facts.calendar:
        from mambats.data.calendar import calendar_names

        inputs.append(torch.zeros(rows, facts.horizon + 1, len(calendar_names(facts.calendar))))
    return inputs, list(model.init_state(rows).values())


def _export(module: _Step, inputs: list[Tensor], state: list[Tensor], shapes: Any) -> bytes:
    names = module.model.names
    return proto_of(
        module,
        (inputs, state),
        shapes,
        [*module.inputs, *(STATE + name for name in names)],
        ["forecast", *(NEXT + name for name in names)],
    )


def proto_of(
    module: nn.Module,
    given: tuple[Any, ...],
    shapes: Any,
    inputs: Sequence[str] | None,
    outputs: Sequence[str] | None,
    table: Mapping[Any, Callable[..., Any]] | None = None,
) -> bytes:
    """Export a module as an ONNX file's bytes.

    Args:
        module: In evaluation mode.
        given: What it is traced with.
        shapes: Which axes are free, as `torch.export.export` takes them.
        inputs: Names in order.
        outputs: Names in order.
        table: Operators to write out beforehand, see `mambats.bundle.elementary`; None leaves all to the exporter.
    """
    # "torch": operations that an exporter knows; the native library is a black box to it.
    with torch.no_grad(), use_backend("torch"), _quiet():
        program = torch.export.export(module, given, dynamic_shapes=shapes)
        if table is not None:
            program = program.run_decompositions(dict(table))
        made = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=inputs, output_names=outputs, optimize=table is None
        )
    if made is None:
        raise RuntimeError("torch gave no ONNX program: this is a defect of the exporter.")
    proto = made.model_proto
    _strip(proto.graph)
    for function in proto.functions:
        _strip(function)
    return proto.SerializeToString()


def _strip(graph: Any) -> None:
    """Take out what the exporter notes of its machine (paths of source files) and of shapes: 9 bytes in 10."""
    for part in (graph, *graph.node, *getattr(graph, "input", ()), *getattr(graph, "output", ())):
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    if hasattr(graph, "initializer"):
        for weight in graph.initializer:
            del weight.metadata_props[:]
    del graph.value_info[:]
    for node in graph.node:
        node.doc_string = ""
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _strip(inner)


@contextmanager
def _quiet() -> Generator[None]:
    """Silence the exporter's progress lines and its warnings of packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
