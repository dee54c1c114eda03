"""How long a tick of a navigator's bundle takes, by torch and by ONNX Runtime in one run, and how far they are apart.

    OMP_NUM_THREADS=1 taskset -c 1 python datasets/bench_navigator.py --bundle BUNDLE --output bench_navigator.json

A simulated robot (inertial unit 200 Hz, wheels 50 Hz, fixes 5 Hz) goes packet by packet through a `StreamRunner`; timed
is each push that brings a tick's answer: door, queue, guards and the tick itself. Processor time of the calling thread,
the best of the windows by its median; online.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from mambats.bundle import read_bundle
from mambats.streaming import Answer, ClockRule, Packet, Policy, StreamRunner
from mambats.streaming.engine import Engine
from mambats_datasets.synthetic.robot import SimulatedRobots

SENSORS = ("imu", "wheel", "gnss")
WARM = 5  # ticks that are not timed: sessions lay out their memory


def packets(seconds: float) -> list[Packet]:
    """Return a drive's rows of all sensors in the order of time."""
    drive = SimulatedRobots("robot", series=1, duration=seconds, seed=3).recordings()[0]
    found = list[Packet]()
    for name in SENSORS:
        stream = drive.streams[name]
        rows = zip(stream.stamps, stream.values.astype(np.float32), strict=True)
        found += [Packet(name, int(stamp), values) for stamp, values in rows if np.isfinite(values).all()]
    return sorted(found, key=lambda packet: packet.stamp_ns)


def timed(engine: Engine, tick_ns: int, given: list[Packet]) -> tuple[list[Answer], list[float]]:
    """Push all packets; return the answers and the milliseconds of each push that answered."""
    policy = Policy(tick_ns=tick_ns, provisional=False, clock=ClockRule(ahead_ns=10**10))
    runner = StreamRunner(engine, policy)
    answers, taken = list[Answer](), list[float]()
    for packet in given:
        begun = time.thread_time_ns()
        said = [answer for answer in runner.push_many([packet]) if answer.outputs]
        if said:
            taken.append((time.thread_time_ns() - begun) / 1e6 / len(said))
        answers += said
    return answers, taken[WARM:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="of a navigator, from `mambats export`")
    parser.add_argument("--seconds", type=float, default=6.0, help="of the drive")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    bundle, rows = read_bundle(given.bundle), packets(given.seconds)
    found, said = dict[str, dict[str, float]](), dict[str, list[Answer]]()
    for route in ("torch", "onnx"):
        engine = bundle.engine(route)
        tick_ns = int(getattr(engine, "tick_ns"))  # noqa: B009  # of engines that are asked at ticks
        windows = [timed(engine, tick_ns, rows) for _ in range(given.windows)]
        said[route] = windows[0][0]
        p50, p99 = min((np.percentile(taken, [50, 99]) for _, taken in windows), key=lambda window: window[0])
        found[route] = {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2), "ticks": len(windows[0][1])}
        print(f"{route:<6} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms of {len(windows[0][1])} ticks")
    apart = {
        name: max(
            float(np.abs(one.outputs[name] - other.outputs[name]).max())
            for one, other in zip(said["torch"], said["onnx"], strict=True)
        )
        for name in said["torch"][0].outputs
    }
    print(f"{platform.machine()}, load {os.getloadavg()[0]:.1f}; largest differences: {apart}")
    if given.output:
        given.output.write_text(json.dumps({**found, "apart": apart, "load": os.getloadavg()[0]}, indent=2))


if __name__ == "__main__":
    main()
