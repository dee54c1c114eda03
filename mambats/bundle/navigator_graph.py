"""ONNX graphs of a navigator: one tick (`step`), and where a run begins (`begin`).

A tick loops over moments, and a filter is corrected only where something was measured: torch's exporter takes such a
model in hours or not at all. So its parts are exported one by one and put together here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from mambats.bundle.elementary import TABLE
from mambats.bundle.flat_navigator import (
    INTERVAL_PARTS,
    STATE_PARTS,
    Fix,
    FlatNavigator,
    Moment,
)
from mambats.bundle.graph import proto_of
from mambats.bundle.layout import NEXT, OPSET, STATE
from mambats.bundle.navigator_parts import Begin, End, Lay, Show, probe_rows
from mambats.bundle.splice import Joint, Part, typed
from mambats.streaming.engines.navigation_facts import ANSWERS, PARTS, STREAMS

_ROBOTS = 1  # len() of a tensor is a constant to the exporter, and one robot's graph has no nodes that ask for shapes


def begin_graph(model: FlatNavigator) -> bytes:
    """Export the state that a run begins with.

    Args:
        model: In evaluation mode.

    Returns:
        An ONNX file: input `start (B, 10)` float64, px py pz qx qy qz qw vx vy vz; outputs `next.NAME`.
    """
    start = torch.eye(10, dtype=torch.float64)[6].expand(_ROBOTS, -1).contiguous()
    part, joint = Part(_export(Begin(model), [start])), Joint()
    # One tensor may be several of the state's: each gets a name of its own.
    found = joint.add(part, "begin.", ["start"])
    outputs = [NEXT + name for name in model.names]
    joint.nodes += [helper.make_node("Identity", [a], [b]) for a, b in zip(found, outputs, strict=True)]
    kinds = part.kinds(outputs=True)
    return _body(joint.graph("begin", typed(["start"], part.kinds(outputs=False)), typed(outputs, kinds)))


def tick_graph(model: FlatNavigator) -> bytes:
    """Export one tick, for any number of robots and rows.

    Args:
        model: In evaluation mode.

    Returns:
        An ONNX file: inputs `imu.values (B, N, 6)`, `imu.stamps (B, N)`, `imu.there (B, N)`, the same of `gnss` and
        `wheel`, and `state.NAME`; outputs `position`, `quaternion`, `velocity`, `covariance`, and `next.NAME`.
    """
    with torch.no_grad():
        return _body(_Tick(model).join())


class _Tick:
    """Exports the parts with what the parts before gave, and joins them."""

    def __init__(self, model: FlatNavigator) -> None:
        self.model, self.joint = model, Joint()
        self.rows = [f"{name}.{part}" for name in STREAMS for part in PARTS]
        self.states = [STATE + name for name in model.names]

    def join(self) -> Any:
        model, joint = self.model, self.joint
        given = [*probe_rows(model, _ROBOTS), *Begin(model)(torch.eye(10, dtype=torch.float64)[6].expand(_ROBOTS, -1))]
        inputs = [*self.rows, *self.states]
        lay, laid, names = self._part(Lay(model), given, "lay.", inputs)
        declared = typed(inputs, lay.kinds(outputs=False))
        carry, columns = laid[:STATE_PARTS], laid[STATE_PARTS:]
        body = self._moments(carry, [column[0] for column in columns])
        after = joint.scan(body, "filter.scan.", names[:STATE_PARTS], names[STATE_PARTS:])
        _, shown, seen = self._part(Show(model), [*given, *carry], "show.", [*inputs, *after])
        # Of what was shown: the bank's and memory's next state, columns of fixes, and what the end reads.
        kept = [name for name in model.names if not name.startswith("encoder.")]
        place = len(kept)
        leaves = [name for name in self.states if name.startswith(f"{STATE}encoder.")]
        numbers = given[len(given) - len(self.states) :]
        start = [numbers[self.states.index(name)] for name in leaves]
        passed = torch.zeros(_ROBOTS, dtype=torch.int64)
        fix = [row[0] for row in shown[place + 1 : place + 4]]
        body = self._loop(Fix(model), "fix.", [passed, *start], fix)
        done = joint.scan(body, "fix.scan.", [seen[place], *leaves], seen[place + 1 : place + 4])
        _, _, told = self._part(End(model), [*shown[place + 4 :], passed, *start], "end.", [*seen[place + 4 :], *done])
        gives = [*told[: len(ANSWERS)], *seen[:place], *told[len(ANSWERS) :]]
        outputs = [*ANSWERS, *(NEXT + name for name in (*kept, *(leaf.removeprefix(STATE) for leaf in leaves)))]
        joint.nodes += [helper.make_node("Identity", [a], [b]) for a, b in zip(gives, outputs, strict=True)]
        kinds = {name: kind for name, kind in zip(inputs, lay.kinds(outputs=False), strict=True)}
        made = [kinds[f"{STATE}{name.removeprefix(NEXT)}"] if name.startswith(NEXT) else 11 for name in outputs]
        return joint.graph("tick", declared, typed(outputs, made))

    def _part(
        self, module: nn.Module, given: list[Tensor], prefix: str, names: Sequence[str]
    ) -> tuple[Part, list[Tensor], list[str]]:
        made = list(module(*given))  # also so that tables which functions keep are of numbers, not of the tracer
        part = Part(_export(module, given))
        return part, made, self.joint.add(part, prefix, names)

    def _moments(self, carry: list[Tensor], row: list[Tensor]) -> Any:
        moment, inner, interval = Moment(self.model), Joint(), row[:INTERVAL_PARTS]
        old, new = ([f"filter.{kind}.{k}" for k in range(len(part))] for kind, part in (("old", carry), ("row", row)))
        moment.advance(*carry, *interval)
        advance = Part(_export(moment.advance, [*carry, *interval]))
        now = inner.where_any(advance, "filter.advance.", new[1], old, new[:INTERVAL_PARTS])
        for place, (name, measure) in enumerate(moment.measures.items()):
            told = slice(INTERVAL_PARTS + 4 * place, INTERVAL_PARTS + 4 * place + 4)
            measure(*carry, *row[told])
            part = Part(_export(measure, [*carry, *row[told]]))
            now = inner.where_any(part, f"filter.{name}.", new[told][1], now, new[told])
        kinds = [_kind(v) for v in (*carry, *row)]
        return inner.graph("moment", typed([*old, *new], kinds), typed(now, kinds[: len(carry)], _shapes(carry)))

    def _loop(self, module: nn.Module, prefix: str, carry: list[Tensor], row: list[Tensor]) -> Any:
        module(carry, row)
        part, inner = Part(_export(_Flat(module, len(carry)), [*carry, *row])), Joint()
        names = [f"{prefix}{k}" for k in range(len(carry) + len(row))]
        kinds = [_kind(v) for v in (*carry, *row)]
        return inner.graph(
            f"{prefix}body",
            typed(names, kinds),
            typed(inner.add(part, prefix, names), kinds[: len(carry)], _shapes(carry)),
        )


def _body(graph: Any) -> bytes:
    # Version 10 of the file format is what the oldest ONNX Runtime with these operators reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return model.SerializeToString()


class _Flat(nn.Module):
    def __init__(self, module: nn.Module, carry: int) -> None:
        super().__init__()
        self.module, self.carry = module, carry

    def forward(self, *given: Tensor) -> list[Tensor]:
        return self.module(given[: self.carry], given[self.carry :])


def _shapes(tensors: Sequence[Tensor]) -> list[list[int]]:
    return [list(one.shape) for one in tensors]


def _kind(tensor: Tensor) -> int:
    kinds = {torch.float32: "FLOAT", torch.float64: "DOUBLE", torch.int64: "INT64", torch.bool: "BOOL"}
    return getattr(onnx.TensorProto, kinds[tensor.dtype])


def _export(module: nn.Module, given: list[Tensor], inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> bytes:
    """Export a part whose axes are free where they are robots or rows."""
    # One tensor given twice would be one input: a clock of zeros stood for another, and answers were 5e-4 off.
    given = [v.clone(memory_format=torch.contiguous_format) for v in given]
    ragged = getattr(module, "ragged", ())
    shapes = (tuple({1: torch.export.Dim.DYNAMIC} if place in ragged else {} for place in range(len(given))),)
    return proto_of(
        module, tuple(given), shapes if ragged else None, list(inputs) or None, list(outputs) or None, TABLE
    )
