"""An ONNX graph whose matrices are stored in fewer bits and made float32 again when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.bundle.weights import Stored, is_matrix, to_bf16, to_int8


def shrink(graph: bytes, weights: Mapping[str, npt.NDArray[Any]], stored: Stored) -> bytes:
    """Replace matrices of a graph by stored ones, each with a node that gives the float32 one of its name.

    An exporter renames and turns weights, so they are known by their numbers. ONNX Runtime computes such a node once,
    when it loads the graph: steps cost what they did.

    Args:
        graph: An ONNX file's bytes.
        weights: Of the model, `rounded` already, by name.
        stored: How.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(graph)
    known = {
        np.ascontiguousarray(turn(array)).tobytes(): (array, turned)
        for name, array in weights.items()
        if is_matrix(name, array)
        for turned, turn in ((True, np.transpose), (False, np.asarray))
    }
    nodes = list[Any]()
    for tensor in list(model.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
            continue
        array, turned = known.get(numpy_helper.to_array(tensor).tobytes(), (None, False))
        if array is None or (array.shape[::-1] if turned else array.shape) != tuple(tensor.dims):
            continue
        name = f"{tensor.name}.{stored}"
        if stored == "bf16":
            body = to_bf16(np.ascontiguousarray(array.T if turned else array)).tobytes()
            parts = [helper.make_tensor(name, TensorProto.BFLOAT16, tensor.dims, body, raw=True)]
            node = helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT)
        else:
            whole, scale = to_int8(array)
            parts = [
                numpy_helper.from_array(np.ascontiguousarray(whole.T if turned else whole), name),
                numpy_helper.from_array(scale, f"{tensor.name}.scale"),
            ]
            inputs = [part.name for part in parts]
            node = helper.make_node("DequantizeLinear", inputs, [tensor.name], axis=int(turned))
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(parts)
        nodes.append(node)
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])
    return model.SerializeToString()
