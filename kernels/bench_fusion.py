"""Time the fusion of six streams: training steps a second, and one event on one CPU core.

    python kernels/bench_fusion.py --device cuda --json fusion.json      training as the issue asks for it, then events
    python kernels/bench_fusion.py --seconds 2 --batch 2                 both on the CPU, small

Streams of 200, 50, 10, 10, 5 and 1 Hz. All encoders have the same width, layers and mixer; each row's ratio is to
concatenation on the clock of the fastest stream, in the same run, encoders taking turns. Needs the package mambats:
put the root of the repository on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor

from mambats.encoders.fusion import ConcatenationFusion, EstimateFusion, EventFusion, Shared, StreamFusion
from mambats.protocols import Event, FusionEncoder
from mambats.series import SensorRows

RATES = {"imu": 200, "wheel": 50, "lidar": 10, "camera": 10, "mag": 5, "gnss": 1}  # Hz
CHANNELS = {"imu": 6, "wheel": 2, "lidar": 16, "camera": 16, "mag": 3, "gnss": 3}
PERIOD_NS, SECOND_NS = 10_000_000, 1_000_000_000
BASELINE = "concatenation, 200 Hz"
Made = dict[str, FusionEncoder]


def encoders(width: int, layers: int) -> Made:
    """Make every encoder, with the published mixer."""
    size: dict[str, Any] = {"width": width, "layers": layers, "period_ns": PERIOD_NS}
    torch.manual_seed(0)
    return {
        BASELINE: ConcatenationFusion(CHANNELS, clock="imu", **size),
        "concatenation, 10 Hz": ConcatenationFusion(CHANNELS, clock="lidar", **size),
        "event fusion": EventFusion(CHANNELS, **size),
        "stream fusion": StreamFusion(CHANNELS, **size),
        "stream fusion, shared": StreamFusion(CHANNELS, mixer=Shared(), **size),
        "estimate fusion": EstimateFusion(CHANNELS, **size),
    }


def window(batch: int, seconds: int, device: torch.device) -> dict[str, SensorRows]:
    """Draw a window in which every stream keeps its rate."""
    rows: dict[str, SensorRows] = {}
    for name, rate in RATES.items():
        count = rate * seconds
        stamps = (torch.arange(1, count + 1) * (SECOND_NS // rate)).expand(batch, count).contiguous()
        mask = torch.ones(batch, count, dtype=torch.bool)
        drawn = SensorRows(torch.randn(batch, count, CHANNELS[name]), mask, torch.ones(batch, count), stamps)
        rows[name] = drawn.to(device)
    return rows


def training(encoder: FusionEncoder, rows: dict[str, SensorRows], length_ns: int) -> Callable[[], Tensor]:
    """One optimiser step: forward, mean square of all tokens, backward, AdamW."""
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-4)

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        tokens, _ = encoder(rows, length_ns)
        loss = torch.stack([(token - 1).square().mean() for token in tokens.values()]).sum()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Time one call, waiting for the device before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def moments(seconds: int) -> Iterator[tuple[int, list[str]]]:
    """Walk through time: (nanoseconds since the moment before, streams that measure)."""
    every = {name: SECOND_NS // rate for name, rate in RATES.items()}
    before = 0
    for now in sorted({k * ns for ns in every.values() for k in range(1, seconds * SECOND_NS // ns + 1)}):
        yield now - before, [name for name, ns in every.items() if now % ns == 0]
        before = now


def streaming(encoder: FusionEncoder, seconds: int) -> Callable[[], int]:
    """Step through `seconds` of all streams, one series, on the CPU; returns the number of events."""
    events = {name: Event(torch.randn(1, channels)) for name, channels in CHANNELS.items()}
    fed = [({name: events[name] for name in names}, torch.tensor([ns])) for ns, names in moments(seconds)]

    def run() -> int:
        state = encoder.init_state(1)
        with torch.inference_mode():
            for moment, elapsed in fed:
                _, state = encoder.step(moment, elapsed, state=state)
        return sum(len(moment) for moment, _ in fed)

    return run


def time_training(made: Made, batch: int, seconds: int, repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds a training step, encoders taking turns."""
    rows = window(batch, seconds, device)
    steps = {name: training(encoder.to(device).train(), rows, seconds * SECOND_NS) for name, encoder in made.items()}
    taken: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(repeats + 2):  # two to warm up
        for name, step in steps.items():
            spent = seconds_of(step, device)
            if turn >= 2:
                taken[name].append(spent)
    return taken


def time_events(made: Made, seconds: int, repeats: int) -> dict[str, list[float]]:
    """CPU seconds an event of one thread, encoders taking turns: what else the machine does is not counted."""
    torch.set_num_threads(1)
    runs = {name: streaming(encoder.cpu().eval(), seconds) for name, encoder in made.items()}
    taken: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = process_time()
            count = run()
            if turn:
                taken[name].append((process_time() - start) / count)
    return taken


def table(title: str, taken: dict[str, list[float]], rate: Callable[[float], str]) -> str:
    """Lay out one line an encoder: median, spread, ratio of speed to the baseline's."""
    base = median(taken[BASELINE])
    lines = [title, f"| {'encoder':<22} | {'median':>16} | {'fastest':>16} | ratio |", "|---|---|---|---|"]
    for name, spent in taken.items():
        middle = median(spent)
        lines.append(f"| {name:<22} | {rate(middle):>16} | {rate(min(spent)):>16} | {base / middle:5.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=60, help="of a training window")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--events", type=int, default=1, help="seconds of streams to step through; 0 leaves it out")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    made = encoders(asked.width, asked.layers)
    trained = time_training(made, asked.batch, asked.seconds, asked.repeats, device)
    what = f"batch {asked.batch}, {asked.seconds} s windows, width {asked.width}, {asked.layers} layers"
    print(table(f"Training steps, {what}, {machine}", trained, lambda s: f"{1 / s:.2f} steps/s"))
    results: dict[str, object] = {"arguments": vars(asked) | {"json": str(asked.json)}, "machine": machine}
    results["training_seconds"] = trained
    if device.type == "cuda":
        results["peak_bytes"] = torch.cuda.max_memory_allocated(device)
    if asked.events:
        stepped = time_events(made, asked.events, asked.repeats)
        print(table(f"One event, one CPU core, {what}", stepped, lambda s: f"{1e6 * s:.0f} us"))
        results["event_seconds"] = stepped
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
