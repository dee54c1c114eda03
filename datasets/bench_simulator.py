"""How fast does the simulator measure? A new trajectory is drawn for every batch, and every error is simulated.

    python datasets/bench_simulator.py [--seconds 2] [--device cuda]

Each row draws `batch` trajectories of 10 s and reads a sensor of each; rates are samples a second of processor time on
one core (of the clock on a GPU), which a busy machine disturbs less than the clock. `all` reads IMU, GNSS and wheels
and the true motion at 100 Hz, as training does; its samples are the IMU's. Samples of the IMU have six channels,
float64, with bias walk, instability, scale, misalignment, saturation and quantisation (grade `consumer`, 200 Hz).
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import torch

from mambats_datasets.synthetic.grade import CONSUMER
from mambats_datasets.synthetic.robot import SENSORS, SimulatedRobots
from mambats_datasets.synthetic.trajectory import KINDS, random_trajectory, uniform_times

DURATION = 10.0
RATE = 200.0


def rate(work: Callable[[], None], samples: float, seconds: float, device: str) -> tuple[float, float]:
    """Median and best samples a second."""
    tick = time.perf_counter if device == "cuda" else time.process_time
    work()
    rates: list[float] = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(rates) < 3:
        began = tick()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        rates.append(samples / (tick() - began))
    return sorted(rates)[len(rates) // 2], max(rates)


def jobs(kind: str, batch: int, generator: torch.Generator) -> dict[str, tuple[Callable[[], object], float]]:
    """What is timed, and how many samples one call makes."""

    def draw():
        return random_trajectory(kind, batch, DURATION, generator)

    times = uniform_times(batch, DURATION, RATE, generator.device)
    robots = SimulatedRobots(kind, duration=DURATION)
    samples = batch * DURATION * RATE
    made = {
        "motion": (lambda: draw()(times), samples),
        "imu": (lambda: CONSUMER.read(draw(), generator), samples),
        "gnss": (lambda: SENSORS["gnss"].read(draw(), generator), batch * DURATION * SENSORS["gnss"].timing.rate),
        "wheel": (lambda: SENSORS["wheel"].read(draw(), generator), batch * DURATION * SENSORS["wheel"].timing.rate),
        "all": (lambda: robots.batch(batch, generator), samples),
    }
    return made if kind == "robot" else {name: made[name] for name in ("motion", "imu")}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the simulator.")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()}, one thread"
    print(f"{name}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}\n")
    print("| trajectory | batch | reads | samples/s: median, best |\n|---|---|---|---|")
    for batch in (1, 16, 64) if options.device == "cpu" else (64, 1024):
        for kind in KINDS:
            generator = torch.Generator(options.device).manual_seed(0)
            for what, (work, samples) in jobs(kind, batch, generator).items():
                median, best = rate(work, samples, options.seconds, options.device)
                print(f"| {kind} | {batch} | {what} | {median:,.0f}, {best:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
