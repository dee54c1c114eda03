"""How fast do windows come out? One run, three ways, 512 rows to read and 96 to forecast.

    python datasets/bench_windows.py [--rows 10000000] [--seconds 2]

`engine` is `mambats.data.WindowDataModule` (`engine_clock` with `Window.clock`, which only models with a cycle read);
`map_style` is a torch Dataset of single windows, shuffled and collated by a DataLoader; `unfold_copy` copies every
window of the series for each batch and draws from the copy, as neuralforecast does, on 50,000 rows because more would
not fit. Each runs in its own process, on one thread. Rates are channel-windows over whole batches by second of
processor time, which a busy machine disturbs less than the clock; `first batch` is the time from asking for an epoch
to its first batch; `above data` is the peak of memory over what held the data before the first window was cut.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

LOOKBACK, HORIZON = 512, 96
LENGTH = LOOKBACK + HORIZON
COPY_ROWS = 50_000


def engine(values: np.ndarray, batch: int, clock: bool = False) -> Iterator[Tensor]:
    from mambats.data import Fractions, Loading, Panel, WindowDataModule
    from mambats.data.panel import Block
    from mambats.series import Recording

    class Given:
        name = "given"

        def recordings(self) -> list[Recording]:
            return []

        def panel(self) -> Panel:
            channels, rows = values.shape
            names = tuple(str(i) for i in range(channels))
            return Panel("given", ("0",), np.arange(rows) * 10**9, np.array([0, rows]), Block(names, values))

    split, loading = Fractions(0.99, 0.005), Loading(clock=clock)
    data = WindowDataModule(Given(), LOOKBACK, HORIZON, batch_size=batch, split=split, loading=loading)
    data.setup()
    ready()
    return (window.values for window in data.train_dataloader())


def engine_clock(values: np.ndarray, batch: int) -> Iterator[Tensor]:
    return engine(values, batch, clock=True)


class Single(Dataset[Tensor]):
    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return self.values.shape[1] - LENGTH + 1

    def __getitem__(self, start: int) -> Tensor:
        return self.values[:, start : start + LENGTH]


def map_style(values: np.ndarray, batch: int) -> Iterator[Tensor]:
    data = Single(torch.from_numpy(values))
    ready()
    yield from DataLoader(data, batch_size=batch, shuffle=True)


def unfold_copy(values: np.ndarray, batch: int) -> Iterator[Tensor]:
    series = torch.from_numpy(values[:, :COPY_ROWS].copy())
    ready()
    while True:
        windows = series.unfold(-1, LENGTH, 1).permute(1, 0, 2).contiguous()
        yield windows[torch.randint(len(windows), (batch,))]


def ready() -> None:
    """Note how much memory the data takes before windows are cut."""
    global held
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(way: str, channels: int, rows: int, batch: int, seconds: float) -> dict[str, float]:
    torch.set_num_threads(1)
    values = np.random.default_rng(0).standard_normal((channels, rows), dtype=np.float32)
    ways = {"engine": engine, "engine_clock": engine_clock, "map_style": map_style, "unfold_copy": unfold_copy}
    batches = ways[way](values, batch)
    began = time.perf_counter()
    next(batches)
    first = time.perf_counter() - began
    rates: list[float] = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(rates) < 3:
        began, busy, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < seconds / 10:
            count += len(next(batches))
        rates.append(count * channels / (time.process_time() - busy))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rate": float(np.median(rates)), "best": max(rates), "first": first, "above": (peak - held) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the window engine.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, channels, batch = options.one[0], int(options.one[1]), int(options.one[2])
        print(json.dumps(measure(way, channels, options.rows, batch, options.seconds)))
        return
    print(f"{options.rows:,} rows, {LOOKBACK}/{HORIZON}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}\n")
    print("| channels | batch | way | channel-windows/s: median, best | engine's lead | first batch | above data |")
    print("|---|---|---|---|---|---|---|")
    for channels, batch in ((1, 256), (7, 32)):
        ours = 0.0
        for way in ("engine", "engine_clock", "map_style", "unfold_copy"):
            found = child(way, channels, batch, options)
            ours = ours or found["rate"]
            print(
                f"| {channels} | {batch} | {way} | {found['rate']:,.0f}, {found['best']:,.0f} | "
                f"{ours / found['rate']:.1f} | {1000 * found['first']:.1f} ms | {found['above']:.0f} MB |",
                flush=True,
            )


def child(way: str, channels: int, batch: int, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), "--rows", str(options.rows)]
    command += ["--seconds", str(options.seconds)]
    done = subprocess.run(
        [*command, "--one", way, str(channels), str(batch)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
