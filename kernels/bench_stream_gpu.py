"""What a streaming forecaster's step takes on a GPU: one operation after another, compiled, and recorded as a graph.

    python kernels/bench_stream_gpu.py --device cuda --rows 1,64,1024 --output bench_stream_gpu.json

`on the device` steps with a state that stays there, as a simulation or a replay can; `engine` hands answer and state
out as arrays after every step, as a stream needs that goes back in time, guards and saves; `whole push` is a packet of
every robot through queue, gates, guards and step. Wall time of a call until the device is done, the best of five
windows by its median. `drift` compares float32 with float64 over many steps, both recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.streaming import SECOND, best_window, stepper
from mambats.bundle.flat import FlatForecaster
from mambats.encoders import CausalEncoder
from mambats.forecast.head import DirectHead
from mambats.forecast.model import Forecaster
from mambats.scale import RunningNorm, Scaler
from mambats.streaming import Packet, Policy, StreamRunner
from mambats.streaming.engines.captured import CapturedForecaster
from mambats.streaming.engines.captured_core import CapturedCore
from mambats.streaming.engines.facts import ForecastFacts
from mambats.streaming.engines.forecast import ForecastEngine
from mambats.streaming.engines.torch_core import TorchCore


def forecaster(given: argparse.Namespace, dtype: torch.dtype = torch.float32) -> FlatForecaster:
    """Make a forecaster of one channel with random weights."""
    torch.manual_seed(0)
    encoder = CausalEncoder(1, given.width, given.layers)
    model = Forecaster(encoder, DirectHead(given.width, given.horizon), RunningNorm())
    facts = ForecastFacts(("x",), SECOND, given.horizon)
    flat = FlatForecaster(model, Scaler(("x",)), None, facts).eval().requires_grad_(False)
    return flat.to(device=given.device, dtype=dtype)


def wait(device: str) -> None:
    """Wait until the device has done all that was asked."""
    if device != "cpu":
        torch.cuda.synchronize()


def loop(model: FlatForecaster, step: Callable[..., Any], rows: int, device: str) -> Callable[[], None]:
    """Return a step of a plain or compiled model whose state stays on the device."""
    x, gap = torch.randn(rows, 1, device=device), torch.ones(rows, device=device)
    observed, held = torch.ones(rows, 1, dtype=torch.bool, device=device), [model.init_state(rows)]

    @torch.no_grad()
    def call() -> None:
        state = step(x, observed, gap, None, None, held[0])[1]
        held[0] = {name: leaf.clone() for name, leaf in state.items()}
        wait(device)

    return call


def replaying(captured: CapturedForecaster, device: str) -> Callable[[], None]:
    """Return a replay whose state stays on the device."""

    def call() -> None:
        captured.replay()
        wait(device)

    return call


def pusher(engine: ForecastEngine, rows: int) -> Callable[[], None]:
    """Return a push of a packet for every robot."""
    runner, at, value = StreamRunner(engine, Policy(provisional=False), rows), [0], np.full(1, 0.5, np.float32)

    def call() -> None:
        at[0] += SECOND
        runner.push_many([Packet("series", at[0], value, row) for row in range(rows)])

    return call


def measure(call: Callable[[], None], rows: int, seconds: float) -> dict[str, float]:
    """Return p50 and p99 in microseconds, and robots stepped a second, of the best of five windows by its median."""
    for _ in range(5):
        call()
    begun = time.perf_counter()
    call()
    calls = int(min(2000, max(20, seconds / 5 / (time.perf_counter() - begun))))
    p50, p99 = best_window(call, calls, time.perf_counter_ns)
    return {"p50_us": round(p50, 1), "p99_us": round(p99, 1), "robots_per_s": round(rows * 1e6 / p50), "calls": calls}


def ways(given: argparse.Namespace, rows: int) -> dict[str, Callable[[], Callable[[], None]]]:
    """Return what is measured, each made when its turn comes."""

    def engine(core: Any) -> ForecastEngine:
        return ForecastEngine(core, core.model.facts, "bench")

    device = given.device
    found: dict[str, Callable[[], Callable[[], None]]] = {
        "eager, on the device": lambda: loop(model := forecaster(given), model, rows, device),
        "captured, on the device": lambda: replaying(CapturedForecaster(forecaster(given), rows), device),
        "eager, engine": lambda: stepper(engine(TorchCore(forecaster(given), device)), rows),
        "captured, engine": lambda: stepper(engine(CapturedCore(forecaster(given), device)), rows),
        "eager, whole push": lambda: pusher(engine(TorchCore(forecaster(given), device)), rows),
        "captured, whole push": lambda: pusher(engine(CapturedCore(forecaster(given), device)), rows),
    }
    if given.compiled:
        found["compiled, on the device"] = lambda: loop(
            model := forecaster(given), torch.compile(model, mode="reduce-overhead"), rows, device
        )
    return found


def drift(given: argparse.Namespace) -> dict[str, float]:
    """Return how far float32 answers are from float64 over many steps, as a share of the largest answer."""
    made = [CapturedForecaster(forecaster(given, kind), 1) for kind in (torch.float32, torch.float64)]
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(given.drift, generator=generator, dtype=torch.float64).to(given.device)
    gaps = torch.rand(given.drift, generator=generator, dtype=torch.float64).to(given.device) * 2
    worst, most = (torch.zeros((), dtype=torch.float64, device=given.device) for _ in range(2))
    for at in range(given.drift):
        for captured in made:
            captured.inputs["x"].copy_(rows[at].view(1, 1).float())
            captured.inputs["gap"].copy_(gaps[at].view(1).float())
            captured.replay()
        worst = torch.maximum(worst, (made[0].forecast.double() - made[1].forecast).abs().max())
        most = torch.maximum(most, made[1].forecast.abs().max())
    return {"steps": given.drift, "largest_answer": float(most), "error_of_largest": float(worst / most)}


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", default="1,64,1024")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--compiled", action="store_true", help="torch.compile too: a minute of compiling")
    parser.add_argument("--drift", type=int, default=0, help="steps of float32 against float64, 0 for none")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(words)
    name = "CPU" if given.device == "cpu" else torch.cuda.get_device_name()
    print(
        f"{given.width} wide, {given.layers} layers, torch {torch.__version__}, {name}, load {os.getloadavg()[0]:.1f}"
    )
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "load": os.getloadavg()[0], "rows": {}}
    for rows in (int(word) for word in given.rows.split(",")):
        found["rows"][rows] = taken = dict[str, Any]()
        for way, make in ways(given, rows).items():
            try:
                taken[way] = measure(make(), rows, given.seconds)
            except Exception as error:  # what cannot be compiled or recorded stands in the table, and the rest goes on
                taken[way] = {"error": f"{type(error).__name__}: {error}"[:500]}
            print(f"rows {rows:>5}  {way:<24} {taken[way]}", flush=True)
            save(given, found)
    if given.drift:
        found["drift"] = drift(given)
        print(f"drift of float32 from float64: {found['drift']}", flush=True)
    save(given, found)
    return found


def save(given: argparse.Namespace, found: dict[str, Any]) -> None:
    """Write what is known so far."""
    if given.output:
        given.output.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
