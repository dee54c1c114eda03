"""A navigator's bundle: the engines that run it; loads neither torch nor ONNX Runtime by itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.bundle.errors import BundleDamagedError, BundleForeignError, BundleMissingError
from mambats.bundle.layout import BEGIN, STEP
from mambats.streaming.engines.navigation_facts import WIDTHS, navigator_identity, start_of
from mambats.streaming.engines.ticks import TickCore, TickEngine

#: The kind of model.
NAVIGATOR = "navigator"


def navigator_facts(tick_ns: int) -> dict[str, Any]:
    """Return what a navigator's configuration keeps as facts."""
    return {"tick_ns": tick_ns, "streams": dict(WIDTHS)}


def navigator_engine(
    config: Mapping[str, Any],
    weights: Mapping[str, npt.NDArray[Any]],
    graphs: Mapping[str, bytes],
    route: str | None,
    start: Sequence[float] | None,
) -> TickEngine:
    """Open an engine.

    Args:
        config: Of the bundle.
        weights: Of the model by name.
        graphs: ONNX files by name.
        route: `onnx` or `torch`; None is onnx.
        start: Where a run starts, px py pz qx qy qz qw vx vy vz; None for the origin.

    Raises:
        ModuleNotFoundError: If what computes is not installed; says what to install.
        BundleMissingError: If a graph is missing.
        BundleDamagedError: If facts are not those of a navigator.
        ValueError: If the start is none, or the native library is asked for.
    """
    facts: Any = config["facts"]
    if facts.get("streams") != dict(WIDTHS) or type(facts.get("tick_ns")) is not int or facts["tick_ns"] < 1:
        raise BundleDamagedError(
            f"the facts of the navigator are {facts}: need tick_ns and {dict(WIDTHS)}. Export again."
        )
    given = start_of(start)
    if route == "native":
        raise ValueError("the native library steps no navigators yet: take the engine onnx.")
    core = _torch(config, weights) if route == "torch" else _onnx(config, graphs)
    return TickEngine(core, facts["tick_ns"], given, navigator_identity(config["model"], given, weights))


def _onnx(config: Mapping[str, Any], graphs: Mapping[str, bytes]) -> TickCore:
    for name in (STEP, BEGIN):
        if name not in graphs:
            raise BundleMissingError(f"the bundle holds no {name}. Export again.")
    try:
        from mambats.streaming.engines.onnx_ticks import OnnxTicks
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: pip install onnxruntime, or take the engine torch.") from error
    return OnnxTicks(tuple(config["state"]), graphs[STEP], graphs[BEGIN], config["facts"]["tick_ns"])


def _torch(config: Mapping[str, Any], weights: Mapping[str, npt.NDArray[Any]]) -> TickCore:
    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("torch is not installed: pip install torch, or take the engine onnx.")
    import torch

    from mambats.recipe import RecipeError, rebuild
    from mambats.streaming.engines.navigator import TorchTicks

    try:
        model = rebuild(config["model"])
        model.load_state_dict({name: torch.from_numpy(np.copy(v)) for name, v in weights.items()})
    except (RecipeError, RuntimeError, AttributeError, KeyError) as error:
        raise BundleForeignError(
            f"recipe and weights do not make a navigator here: {error}. Take the engine onnx, or install mambats "
            f"{config.get('mambats')}."
        ) from error
    return TorchTicks(model)
