"""ONNX graphs put together of exported parts: one behind another, in a loop, or behind a condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, compose, helper, inliner


class Part:
    """An exported graph that others are made of.

    Args:
        body: An ONNX file's bytes.
    """

    def __init__(self, body: bytes) -> None:
        model: Any = inliner.inline_local_functions(onnx.load_from_string(body))
        self.graph: Any = model.graph

    def kinds(self, outputs: bool) -> list[int]:
        """Return the element types of inputs or outputs."""
        return [one.type.tensor_type.elem_type for one in (self.graph.output if outputs else self.graph.input)]


class Joint:
    """A graph under way: nodes and weights so far."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, part: Part, prefix: str, given: Sequence[str]) -> list[str]:
        """Put a part behind what is there.

        Args:
            part: The part.
            prefix: Of all its names; unique.
            given: Names of what it reads, in its order.

        Returns:
            Names of what it gives.
        """
        if len(given) != len(part.graph.input):
            raise ValueError(f"{prefix}: reads {len(part.graph.input)} tensors, got {len(given)}.")
        copy: Any = compose.add_prefix_graph(part.graph, prefix)
        for name, one in zip(given, copy.input, strict=True):
            self.nodes.append(helper.make_node("Identity", [name], [one.name], name=f"{one.name}.given"))
        self.nodes += copy.node
        self.weights += copy.initializer
        return [one.name for one in copy.output]

    def scan(self, body: Any, prefix: str, carry: Sequence[str], columns: Sequence[str]) -> list[str]:
        """Loop over columns (T, ...); `body` is what `loop` made."""
        made = [f"{prefix}after.{place}" for place in range(len(carry))]
        self.nodes.append(
            helper.make_node("Scan", [*carry, *columns], made, name=prefix, body=body, num_scan_inputs=len(columns))
        )
        return made

    def where_any(self, part: Part, prefix: str, there: str, carry: Sequence[str], others: Sequence[str]) -> list[str]:
        """Run a part on `carry` and `others` if any of `there` is not 0; else `carry` stays as it is."""
        self.nodes += [
            helper.make_node("Cast", [there], [f"{prefix}there"], to=TensorProto.BOOL),
            helper.make_node("Cast", [f"{prefix}there"], [f"{prefix}count"], to=TensorProto.INT64),
            helper.make_node("ReduceMax", [f"{prefix}count"], [f"{prefix}most"], keepdims=0),
            helper.make_node("Cast", [f"{prefix}most"], [f"{prefix}any"], to=TensorProto.BOOL),
        ]
        does, kept = Joint(), Joint()
        found = does.add(part, f"{prefix}does.", [*carry, *others])
        same = [f"{prefix}same.{place}" for place in range(len(carry))]
        kept.nodes = [helper.make_node("Identity", [old], [new]) for old, new in zip(carry, same, strict=True)]
        kinds, made = part.kinds(outputs=True), [f"{prefix}{place}" for place in range(len(carry))]
        self.nodes.append(
            helper.make_node(
                "If", [f"{prefix}any"], made, name=prefix,
                then_branch=does.graph(f"{prefix}then", [], typed(found, kinds)),
                else_branch=kept.graph(f"{prefix}else", [], typed(same, kinds)),
            )
        )  # fmt: skip
        return made

    def graph(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """Return it as a graph."""
        return helper.make_graph(self.nodes, name, list(inputs), list(outputs), initializer=self.weights)


def typed(names: Sequence[str], kinds: Sequence[int], shapes: Sequence[Sequence[int]] | None = None) -> list[Any]:
    """Declare tensors of element types, and of shapes: what a loop gives back must have one."""
    sizes = shapes or [None] * len(names)
    return [
        helper.make_tensor_value_info(name, kind, size) for name, kind, size in zip(names, kinds, sizes, strict=True)
    ]
