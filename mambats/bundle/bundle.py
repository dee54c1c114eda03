"""A bundle that was read and verified, and the engines that run it; loads neither torch nor ONNX Runtime by itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mambats.bundle.errors import BundleDamagedError, BundleForeignError, BundleMissingError
from mambats.bundle.folder import read_files, read_json
from mambats.bundle.layout import BEGIN, CONFIG, INITIAL, NATIVE, PREFILL, STEP, WEIGHT, WEIGHTS
from mambats.bundle.navigator_bundle import NAVIGATOR, navigator_engine
from mambats.bundle.weights import unpacked
from mambats.streaming.engines.facts import ForecastFacts, fingerprint
from mambats.streaming.engines.forecast import Core, ForecastEngine, SeriesEngine
from mambats.streaming.engines.ticks import TickEngine

Route = Literal["torch", "onnx", "native"]
ROUTES: tuple[Route, ...] = ("onnx", "native", "torch")
#: The kinds of model that this reader knows.
FORECASTER = "forecaster"
KINDS = (FORECASTER, NAVIGATOR)


@dataclass(frozen=True)
class Bundle:
    """What was read of a bundle.

    Args:
        folder: Where it lies.
        config: Its JSON configuration.
        weights: Weights of the model by name.
        initial: State before any row, of one row, by name.
        graphs: ONNX files by name.
        native: The file of the native library; None makes it of the weights.
    """

    folder: Path
    config: dict[str, Any]
    weights: dict[str, npt.NDArray[Any]]
    initial: dict[str, npt.NDArray[Any]]
    graphs: dict[str, bytes]
    native: bytes | None = None

    @property
    def facts(self) -> ForecastFacts:
        """What the forecaster reads and gives."""
        return ForecastFacts.of(self.config["facts"])

    @property
    def identity(self) -> str:
        """Sha256 of facts, weights and first state: the same for every engine of this model."""
        return str(self.config["identity"])

    def engine(self, route: Route | None = None, start: Sequence[float] | None = None) -> SeriesEngine | TickEngine:
        """Open an engine.

        Args:
            route: Who computes; None takes ONNX Runtime where it is installed, else the native library.
            start: Where a navigator starts, see `start_of`; forecasters have none.

        Raises:
            ModuleNotFoundError: If what computes is not installed; says what to install.
            ValueError: If this model cannot take that route; says why.
        """
        if self.config["kind"] == NAVIGATOR:
            return navigator_engine(self.config, self.weights, self.graphs, route, start)
        chosen = route or self._route()
        if chosen == "native":
            return self._native()
        return ForecastEngine(self._core(chosen), self.facts, self.identity)

    def _native(self) -> SeriesEngine:
        from mambats.bundle.native_file import native_file
        from mambats.streaming.engines.native import NativeEngine

        body = self.native or native_file(self.config["facts"], self.config.get("layers"), self.weights, self.initial)
        return NativeEngine(body, self.facts, self.identity, self.initial)

    def _route(self) -> Route:
        there = STEP in self.graphs and importlib.util.find_spec("onnxruntime") is not None
        return "native" if not there and self.config.get("layers") is not None else "onnx"

    def _core(self, route: Route) -> Core:
        if route == "torch":
            if importlib.util.find_spec("torch") is None:
                raise ModuleNotFoundError(
                    "torch is not installed: pip install torch, or take the engine onnx or native."
                )
            from mambats.bundle.rebuild import torch_core

            return torch_core(self)
        if STEP not in self.graphs:
            raise BundleMissingError(f"{self.folder}: holds no {STEP}. Export again, or take another engine.")
        try:
            from mambats.streaming.engines.onnx_core import OnnxCore
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}: pip install onnxruntime, or take another engine.") from error
        return OnnxCore(self.initial, self.graphs[STEP], self.graphs.get(PREFILL))


def read_bundle(folder: str | Path) -> Bundle:
    """Verify and read a bundle.

    Args:
        folder: What `mambats export` wrote.

    Raises:
        BundleError: One of its kinds: missing, damaged, foreign, unsafe.

    Example:
        engine = read_bundle("bundle").engine("onnx")
        state = engine.init_state(rows=1)
    """
    root = Path(folder)
    files = read_files(root)
    config = read_json(files[CONFIG], str(root / CONFIG))
    if config.get("kind") not in KINDS or not isinstance(config.get("facts"), dict):
        raise BundleForeignError(
            f"{root / CONFIG}: holds a {config.get('kind')!r}, this version runs {' and '.join(map(repr, KINDS))}. "
            "Install a newer one."
        )
    stored = read_arrays(files[WEIGHTS], str(root / WEIGHTS))
    try:
        arrays = unpacked(stored)
    except ValueError as error:
        raise BundleDamagedError(f"{root / WEIGHTS}: {error} Export again.") from error
    weights = {name.removeprefix(WEIGHT): v for name, v in arrays.items() if name.startswith(WEIGHT)}
    initial = {name.removeprefix(INITIAL): v for name, v in arrays.items() if name.startswith(INITIAL)}
    # JSON keeps no order of states that a graph relies on: the configuration lists it.
    order = config.get("state")
    if not isinstance(order, list) or set(order) != set(initial):
        raise BundleDamagedError(f"{root}: configuration and weights name different states. Export again.")
    found = fingerprint(config["facts"], arrays)
    if found != config.get("identity"):
        raise BundleDamagedError(
            f"{root}: facts and weights make the model {found[:12]}..., the configuration says "
            f"{str(config.get('identity'))[:12]}...: they are not of one export. Export again."
        )
    graphs = {name: files[name] for name in (STEP, PREFILL, BEGIN) if name in files}
    return Bundle(root, config, weights, {name: initial[name] for name in order}, graphs, files.get(NATIVE))


def read_arrays(body: bytes, where: str) -> dict[str, npt.NDArray[Any]]:
    """Read tensors from a safetensors file's bytes.

    Raises:
        BundleDamagedError: If it is none.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return {name: np.ascontiguousarray(array) for name, array in load(body).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BundleDamagedError(f"{where}: is no safetensors file ({error}). Export again.") from error


def write_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return arrays as the content of a safetensors file."""
    from safetensors.numpy import save

    # It takes the bytes of a turned array as they lie, in silence: what is read again would be another array.
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
