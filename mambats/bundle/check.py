"""Whether a bundle gives the numbers of the model it was made of: run again at any time, on any machine.

    python -m mambats.bundle.check FOLDER

steps every engine that this machine has (without torch) through recorded rows and prints the largest differences. An
export runs it in a fresh process and leaves nothing if a number is off.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.bundle.bundle import Bundle, Route, read_arrays, read_bundle
from mambats.bundle.errors import BundleError, ExportError
from mambats.bundle.folder import read_files
from mambats.bundle.layout import CHECK, PREFILL, STEP
from mambats.bundle.navigator_check import tick_pairs
from mambats.streaming.engine import STAMP, State, StepEvent
from mambats.streaming.engines.facts import SERIES
from mambats.streaming.engines.forecast import SeriesEngine
from mambats.streaming.engines.ticks import TickEngine

#: Largest difference from torch, relative to the largest number of an answer or a state.
TOLERANCE = 1e-5
Arrays = dict[str, npt.NDArray[Any]]


def record(engine: SeriesEngine, seed: int = 0, moments: int = 48, rows: int = 3) -> Arrays:
    """Draw rows with gaps, absent values and absent rows, and record what an engine answers.

    Args:
        engine: The one that others are held to.
        seed: Of the draw.
        moments: Rows of each series; the first half is regular in that every series measures.
        rows: Series side by side.

    Returns:
        Inputs, answers, and the states halfway and at the end, by name.
    """
    draw, width = np.random.default_rng(seed), engine.streams[SERIES]
    steps = draw.choice([0, 1, 1, 1, 1, 2, 7], (moments, rows)) + draw.uniform(-0.2, 0.2, (moments, rows)).clip(0)
    # 438,000 hours after 1970: the middle of 2019's winter.
    stamps = 438_000 * 3600 * 10**9 + (steps.cumsum(0) * engine.facts.period_ns).astype(np.int64)
    mask = draw.random((moments, rows)) < 0.8
    mask[: moments // 2] = True
    given: Arrays = {
        "stamps": stamps,
        "values": (draw.standard_normal((moments, rows, width)) * 3).astype(np.float32),
        "observed": draw.random((moments, rows, width)) < 0.9,
        "mask": mask,
    }
    forecasts, half, last = replay(engine, given)
    return {
        **given,
        "forecast": forecasts,
        **{f"half.{name}": array for name, array in half.items()},
        **{f"last.{name}": array for name, array in last.items()},
    }


def replay(engine: SeriesEngine, given: Arrays) -> tuple[npt.NDArray[Any], State, State]:
    """Step through recorded rows: answers (T, rows, ...), and the states halfway and at the end."""
    state = engine.init_state(given["mask"].shape[1])
    elapsed = np.diff(given["stamps"], axis=0, prepend=given["stamps"][:1])
    half, forecasts = state, list[npt.NDArray[Any]]()
    for moment, passed in enumerate(elapsed):
        values, observed, mask = (np.ascontiguousarray(given[name][moment]) for name in ("values", "observed", "mask"))
        event = StepEvent(values, observed, mask)
        outputs, state = engine.step({SERIES: event}, passed, {**state, STAMP: given["stamps"][moment]})
        forecasts.append(outputs["forecast"])
        if moment + 1 == len(elapsed) // 2:
            half = state
    return np.stack(forecasts), half, state


def check_bundle(folder: str | Path, routes: Iterable[Route] | None = None) -> dict[str, float]:
    """Hold every engine of a bundle to the recorded answers.

    Args:
        folder: The bundle.
        routes: Engines to check; None takes those without torch that this machine has.

    Returns:
        Largest relative difference by engine.

    Raises:
        ExportError: If one is larger than 1e-5.
        BundleError: If the bundle cannot be used.
    """
    bundle = read_bundle(folder)
    body = read_files(folder, (CHECK,))[CHECK]
    recorded = read_arrays(body, str(Path(folder) / CHECK))
    found: dict[str, float] = {}
    for route in routes or _at_hand(bundle):
        engine = bundle.engine(route)
        if isinstance(engine, TickEngine):
            found[route] = max(_difference(*pair) for pair in tick_pairs(engine, recorded))
            continue
        found[route] = _differences(engine, recorded)
        if route == "onnx" and PREFILL in bundle.graphs:
            found["onnx prefill"] = _prefill_difference(engine, recorded)
    wrong = {route: value for route, value in found.items() if not value <= TOLERANCE}
    if wrong:
        raise ExportError(
            f"{folder}: differs from the model by {wrong}, relative to the largest number; {TOLERANCE} is allowed. "
            "Take another engine, or export on the machine where it will run."
        )
    return found


def _at_hand(bundle: Bundle) -> list[Route]:
    routes = list[Route]()
    if STEP in bundle.graphs and importlib.util.find_spec("onnxruntime"):
        routes.append("onnx")
    if bundle.config.get("layers") is not None:
        from mambats.streaming.engines.library import missing

        if not missing():
            routes.append("native")
    return routes


def _differences(engine: SeriesEngine, recorded: Arrays) -> float:
    forecasts, half, last = replay(engine, recorded)
    # And the first series alone: a batch of one must give the same.
    alone = {name: recorded[name][:, :1] for name in ("stamps", "values", "observed", "mask")}
    single, _, _ = replay(engine, alone)
    pairs = [(forecasts, recorded["forecast"]), (single, recorded["forecast"][:, :1])]
    for name, state in (("half", half), ("last", last)):
        pairs += [(array, recorded[f"{name}.{part}"]) for part, array in state.items()]
    return max(_difference(*pair) for pair in pairs)


def _prefill_difference(engine: SeriesEngine, recorded: Arrays) -> float:
    half = len(recorded["mask"]) // 2
    values, observed, stamps = (recorded[name][:half] for name in ("values", "observed", "stamps"))
    outputs, state = engine.read(values, observed, stamps, engine.init_state(recorded["mask"].shape[1]))
    pairs = [(outputs["forecast"], recorded["forecast"][half - 1])]
    pairs += [(array, recorded[f"half.{name}"]) for name, array in state.items()]
    return max(_difference(*pair) for pair in pairs)


def _difference(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float("inf")
    if wanted.size == 0:
        return 0.0
    if wanted.dtype == np.int64 or wanted.dtype == np.bool_:
        return 0.0 if np.array_equal(found, wanted) else float("inf")
    worst = np.abs(found.astype(np.float64) - wanted).max() / max(float(np.abs(wanted).max()), 1.0)
    return float(worst) if np.isfinite(worst) else float("inf")


def main() -> int:
    """Check a bundle from the command line; prints what was found as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m mambats.bundle.check", description="Hold every engine of a bundle to the model."
    )
    parser.add_argument("folder")
    try:
        found = check_bundle(parser.parse_args().folder)
    except (BundleError, ModuleNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    heavy = [name for name in ("torch", "lightning", "polars", "mlflow") if name in sys.modules]
    print(json.dumps({"differences": found, "loaded": heavy}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
