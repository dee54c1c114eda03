"""How long a streaming forecaster's step takes by each engine, on one thread: torch eager, torch native, ONNX, native.

    OMP_NUM_THREADS=1 python kernels/bench_stream.py --width 64 --layers 4 --output bench_stream.json

A step is all that a stream pays for a row: clocks, scaling, running mean, encoder, head, units. Times are processor
time of the thread a call, so that neighbours on a busy machine count as little as they can; the best of five windows
by its median. All engines take turns within one run, and the ratio is to torch's own operations (`eager`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from bench.streaming import SECOND, best_window, stepper
from mambats.bundle.flat import FlatForecaster
from mambats.bundle.graph import step_graph
from mambats.bundle.loss import round_weights
from mambats.bundle.native import layers_of
from mambats.bundle.native_file import native_file
from mambats.bundle.rebuild import arrays_of, torch_engine
from mambats.bundle.small_graph import shrink
from mambats.bundle.weights import STORED, Stored
from mambats.encoders import CausalEncoder
from mambats.forecast import DirectHead, Forecaster
from mambats.forecast.task import ForecastTask
from mambats.scale import RunningNorm
from mambats.streaming import Policy, StreamRunner
from mambats.streaming.engines.forecast import ForecastEngine, SeriesEngine
from mambats.streaming.engines.native import NativeEngine
from mambats_kernels.backend import use_backend

ENGINES = ("eager", "torch", "onnx", "native")


def forecaster(width: int, layers: int, horizon: int) -> FlatForecaster:
    """Make a forecaster of one channel with random weights."""
    torch.manual_seed(0)
    model = Forecaster(CausalEncoder(1, width, layers), DirectHead(width, horizon), RunningNorm())
    task = ForecastTask(model)
    task.adopt(("x",), SECOND)
    return FlatForecaster.of(task.eval(), {})


def engines(model: FlatForecaster, names: Iterable[str], stored: Stored = "float32") -> dict[str, SeriesEngine]:
    """Open engines of a model whose matrices are stored so; prints what their files hold."""
    round_weights(model, stored)
    arrays = arrays_of(model)
    weights = {name.removeprefix("weight."): v for name, v in arrays.items() if name.startswith("weight.")}
    initial = {name: arrays[f"initial.{name}"] for name in model.names}
    found = dict[str, SeriesEngine]()
    for name in names:
        if name == "onnx":
            from mambats.streaming.engines.onnx_core import OnnxCore  # a GPU machine may not have it

            graph = step_graph(model) if stored == "float32" else shrink(step_graph(model), weights, stored)
            print(f"{stored}: step.onnx {len(graph):,} bytes")
            found[name] = ForecastEngine(OnnxCore(initial, graph), model.facts, "onnx")
        elif name == "native":
            body = native_file(model.facts.plain(), layers_of(model), weights, initial, stored)
            print(f"{stored}: native.bin {len(body):,} bytes")
            found[name] = NativeEngine(body, model.facts, "native", initial)
        else:
            found[name] = torch_engine(model)
    return found


def pusher(engine: SeriesEngine) -> Callable[[], None]:
    """Return a function that pushes one packet through a whole runner: door, queue, gates, guards, step."""
    runner, at = StreamRunner(engine, Policy(provisional=False)), [0]

    def push() -> None:
        at[0] += SECOND
        runner.push("series", at[0], (0.5,))

    return push


def measure(call: Callable[[], None], calls: int) -> dict[str, float]:
    """Return p50 and p99 in microseconds of processor time: of the best of five windows by its median."""
    for _ in range(20):
        call()
    p50, p99 = best_window(call, calls, time.thread_time_ns)
    return {"p50_us": round(p50, 1), "p99_us": round(p99, 1), "tail": round(p99 / p50, 2)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--calls", type=int, default=400, help="of each window")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES, help="eager is what ratios are to")
    parser.add_argument("--stored", choices=STORED, default="float32", help="how matrices are stored")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = dict[str, dict[str, float]]()
    model = forecaster(given.width, given.layers, given.horizon)
    for name, engine in engines(model, dict.fromkeys(("eager", *given.engines)), given.stored).items():
        with use_backend("torch" if name == "eager" else None):
            found[name] = measure(stepper(engine, given.rows), given.calls)
            if given.rows == 1:
                found[f"{name}, whole push"] = measure(pusher(engine), given.calls)
    eager = found["eager"]["p50_us"]
    load = os.getloadavg()[0]
    print(f"{given.width} wide, {given.layers} layers, {given.rows} rows; {platform.machine()}, load {load:.1f}")
    for name, numbers in found.items():
        numbers["eager_ratio"] = round(eager / numbers["p50_us"], 1)
        p50, p99, tail, ratio = (numbers[key] for key in ("p50_us", "p99_us", "tail", "eager_ratio"))
        print(f"{name:<20} p50 {p50:8.1f} us  p99 {p99:8.1f} us ({tail:4.2f} of p50)  {ratio:5.1f}x")
    if given.output:
        given.output.write_text(
            json.dumps({"arguments": vars(given) | {"output": None}, "load": load, **found}, indent=2)
        )


if __name__ == "__main__":
    main()
