"""A bundle or a checkpoint as a model of torch: loaded only where torch is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from mambats.bundle.errors import BundleForeignError
from mambats.bundle.flat import FlatForecaster
from mambats.bundle.layout import INITIAL, WEIGHT
from mambats.checkpoint import load_task, read_checkpoint
from mambats.forecast.model import Forecaster
from mambats.recipe import RecipeError, rebuild
from mambats.scale import Scaler
from mambats.streaming.engine import Engine
from mambats.streaming.engines.facts import fingerprint
from mambats.streaming.engines.forecast import ForecastEngine
from mambats.streaming.engines.torch_core import TorchCore

if TYPE_CHECKING:
    from mambats.bundle.bundle import Bundle


def flat_of(checkpoint: str | Path) -> FlatForecaster:
    """Load the forecaster of a checkpoint.

    Raises:
        CheckpointError: One of its kinds.
        DataError: If it reads what a row cannot bring.
        BundleForeignError: If it holds a task of another family.
        StreamingError: If it reads fixed windows.
    """
    task = load_task(checkpoint)
    model: Any = getattr(task, "model", None)
    if not isinstance(model, Forecaster):
        raise BundleForeignError(
            f"{checkpoint}: holds a {type(task).__name__}; forecasters that stream and navigators can be "
            "exported; they run, and so do numbers asked of streams. Give the checkpoint of one."
        )
    return FlatForecaster.of(task, read_checkpoint(checkpoint))


def arrays_of(model: FlatForecaster) -> dict[str, npt.NDArray[Any]]:
    """Return weights and first state, named as a bundle keeps them."""
    weights = {WEIGHT + name: v.detach().contiguous().numpy() for name, v in model.state_dict().items()}
    return weights | {INITIAL + name: v.contiguous().numpy() for name, v in model.init_state(1).items()}


def checkpoint_engine(checkpoint: str | Path, device: str = "cpu") -> ForecastEngine:
    """Open a forecaster's checkpoint for streaming on a device; errors as `flat_of` and `torch_engine`."""
    return torch_engine(flat_of(checkpoint), device)


def any_engine(
    checkpoint: str | Path, start: Sequence[float] | None = None, tick_ns: int | None = None, device: str = "cpu"
) -> Engine:
    """Open any checkpoint that can stream: of a forecaster, a navigator, or numbers asked of streams.

    Args:
        checkpoint: From `mambats fit`.
        start: Where a navigator's run starts, see `NavigatorEngine`.
        tick_ns: How often numbers are asked, see `RegressorEngine`.
        device: Where a forecaster runs; others run on the CPU.

    Raises:
        CheckpointError: One of its kinds.
        BundleForeignError: If it holds another task.
        ValueError: If the start is none, or the model cannot be asked so.
    """
    task = load_task(checkpoint)
    kind = type(getattr(task, "model", None)).__name__
    if device != "cpu" and kind in ("StreamRegressor", "Navigator"):
        raise ValueError(f"device is {device}, and a {kind} runs on the CPU: forecasters run on a GPU. Take cpu.")
    if kind == "StreamRegressor":
        from mambats.streaming.engines.regressor import RegressorEngine

        return RegressorEngine(task.model, tick_ns)
    if kind != "Navigator":
        return checkpoint_engine(checkpoint, device)
    from mambats.streaming.engines.navigator import NavigatorEngine

    return NavigatorEngine(task.model, start)


def navigator_of(checkpoint: str | Path) -> Any:
    """Load the navigator of a checkpoint; None where it holds another model.

    Raises:
        CheckpointError: One of its kinds.
    """
    model = getattr(load_task(checkpoint), "model", None)
    return model if type(model).__name__ == "Navigator" else None


def torch_engine(model: FlatForecaster, device: str = "cpu") -> ForecastEngine:
    """Step a model by torch; on a GPU as one recorded graph.

    Raises:
        ValueError: If torch sees no such device.
    """
    identity = fingerprint(model.facts.plain(), arrays_of(model))
    if device == "cpu":
        return ForecastEngine(TorchCore(model), model.facts, identity)
    from mambats.streaming.engines.captured_core import CapturedCore

    return ForecastEngine(CapturedCore(model, device), model.facts, identity)


def torch_core(bundle: Bundle) -> TorchCore:
    """Rebuild the model of a bundle from its recipe and weights.

    Raises:
        BundleForeignError: If recipe and weights do not fit this version.
    """
    facts = bundle.facts
    try:
        model = rebuild(bundle.config["model"])
        if model.cycle is not None:
            model.cycle.adapt(len(facts.channels), facts.period_ns)
        flat = FlatForecaster(model, Scaler(facts.channels), Scaler(facts.past) if facts.past else None, facts)
        flat.load_state_dict({name: torch.from_numpy(np.copy(v)) for name, v in bundle.weights.items()})
    except (RecipeError, RuntimeError, AttributeError, KeyError) as error:
        raise BundleForeignError(
            f"{bundle.folder}: its recipe and weights do not make a model here: {error}. Take the engine onnx, or "
            f"install mambats {bundle.config.get('mambats')}."
        ) from error
    return TorchCore(flat.eval().requires_grad_(False))
