"""What does the stream around a model cost, and how many robots does a core carry?

    python datasets/bench_stream.py [--bundle FOLDER | --untrained] [--route native] [--output rows.json]

Without a bundle the engine does nothing: it hands back a state of 39 KB in eight arrays (a 64-wide 4-layer model's), so
all that is measured is the stream: door, queue, gates, guards, history, counters. With one, the whole tick: the same
and the model's step and head; `--untrained` makes one of 64 wide, 4 layers, one channel, 24 rows ahead. Each window is
`pushes` calls of `push` at 200 Hz; microseconds of processor time of the one thread, which others on the machine
stretch but do not interrupt; the best window's median, 90 % and 99 % are told. `robots` pushes one packet of each of
many robots at a time; `at 100 Hz` is how many one core carries.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from mambats.streaming import Gate, Packet, Policy, StreamRunner

MS = 1_000_000
PERIOD = 5 * MS


class Empty:
    identity = "empty"

    def __init__(self, streams):
        self.streams, self.outputs = streams, {"level": (4,)}

    def init_state(self, rows):
        """Return as much state as the model would have."""
        return {f"layer{at}": np.zeros((rows, 76, 16), np.float32) for at in range(8)}

    def step(self, events, elapsed_ns, state):
        """Hand the state back."""
        return {"level": np.zeros((len(elapsed_ns), 4), np.float32)}, state


def policies(stream):
    gates = {stream: Gate(low=-50, high=50, stuck=20, timeout_ns=100 * MS)}
    return {
        "in order": Policy(),
        "100 ms of lateness": Policy(lateness_ns=100 * MS),
        "100 ms of lateness, all gates": Policy(lateness_ns=100 * MS, gates=gates),
    }


def percentiles(engine, policy, pushes, windows):
    """Best median, 90 % and 99 % of windows of pushes, microseconds."""
    runner = StreamRunner(engine, policy)
    (stream, size), found = next(iter(engine.streams.items())), []
    values = np.random.default_rng(0).normal(size=(pushes, size)).astype(np.float32)
    for window in range(windows):
        taken = np.zeros(pushes)
        for at in range(pushes):
            stamp = (window * pushes + at) * PERIOD
            begin = time.thread_time_ns()
            runner.push(stream, stamp, values[at])
            taken[at] = time.thread_time_ns() - begin
        found.append(np.quantile(taken, [0.5, 0.9, 0.99]) / 1e3)
    if runner.counters.total("used") != pushes * windows:
        raise RuntimeError(f"not every packet was used: {runner.counters.table()}")
    return np.min(found, axis=0)


def snapshot_cost(engine, policy, count=30):
    """Best time of taking a snapshot in memory and as bytes, microseconds."""
    from mambats.streaming.snapshots.file import encode

    runner, found = StreamRunner(engine, policy), []
    stream, size = next(iter(engine.streams.items()))
    for at in range(100):
        runner.push(stream, at * PERIOD, np.ones(size))
    for _ in range(count):
        begin = time.thread_time_ns()
        content = encode(runner.state())
        found.append(time.thread_time_ns() - begin)
    return min(found) / 1e3, len(content)


def robots(engine, policy, rows, rounds):
    """Best microseconds a packet where `rows` robots send one each at a time."""
    runner = StreamRunner(engine, policy, rows)
    stream, size = next(iter(engine.streams.items()))
    values, found = np.random.default_rng(0).normal(size=(rows, size)).astype(np.float32), []
    for at in range(rounds):
        together = [Packet(stream, at * PERIOD + row, values[row], row) for row in range(rows)]
        begin = time.thread_time_ns()
        runner.push_many(together)
        found.append(time.thread_time_ns() - begin)
    return min(found[rounds // 2 :]) / rows / 1e3


def untrained(folder):
    """Write a bundle of a forecaster with random weights, without graphs."""
    import torch

    from mambats.bundle.export import bundle_files
    from mambats.bundle.folder import manifest_of
    from mambats.bundle.layout import MANIFEST
    from mambats.bundle.rebuild import flat_of
    from mambats.checkpoint import write_checkpoint, write_entry
    from mambats.encoders import CausalEncoder
    from mambats.forecast import DirectHead, Forecaster
    from mambats.forecast.task import ForecastTask
    from mambats.scale import RunningNorm

    torch.manual_seed(0)
    task = ForecastTask(Forecaster(CausalEncoder(1, 64, 4), DirectHead(64, 24), RunningNorm(24, 24))).eval()
    task.adopt(("a",), PERIOD)
    checkpoint = {"state_dict": task.state_dict()}
    write_entry(checkpoint, task, ("a",), PERIOD, source="nowhere", fingerprint="0" * 64)
    write_checkpoint(checkpoint, folder / "model.ckpt")
    files = bundle_files(flat_of(folder / "model.ckpt"), folder / "model.ckpt", {})
    for name, body in {**files, MANIFEST: manifest_of(files)}.items():
        (folder / name).write_bytes(body)
    return folder


def open_engine(given):
    """Return the engine that the arguments ask for."""
    if not (given.bundle or given.untrained):
        return Empty({"imu": 6})
    from mambats.bundle import read_bundle

    with tempfile.TemporaryDirectory() as folder:
        return read_bundle(given.bundle or untrained(Path(folder))).engine(given.route)


def measure(given, engine):
    stream, rows = next(iter(engine.streams)), []
    for name, policy in policies(stream).items():
        p50, p90, p99 = percentiles(engine, policy, given.pushes, given.windows)
        rows.append({"what": f"push, {name}", "p50": p50, "p90": p90, "p99": p99})
    cost, size = snapshot_cost(engine, policies(stream)["100 ms of lateness"])
    rows.append({"what": f"snapshot of {size} bytes, without the disk", "p50": cost})
    for count in given.robots:
        each = robots(engine, Policy(), count, max(20, 2000 // count))
        rows.append({"what": f"{count} robots, a packet", "p50": each, "at 100 Hz": int(1e4 / each)})
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Measure the stream around a model.")
    parser.add_argument("--bundle", help="folder that `mambats export` wrote; default: an engine that does nothing")
    parser.add_argument("--untrained", action="store_true", help="make a bundle of random weights, 64 wide, 4 layers")
    parser.add_argument("--route", default="native", help="engine of the bundle: native, onnx or torch")
    parser.add_argument("--pushes", type=int, default=200)
    parser.add_argument("--windows", type=int, default=50)
    parser.add_argument("--robots", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--output", type=Path, help="write the rows as JSON")
    given = parser.parse_args(arguments)
    engine = open_engine(given)
    load = os.getloadavg()[0]
    rows = measure(given, engine)
    model = given.bundle or ("untrained" if given.untrained else "")
    print(f"engine: {f'{model}, {given.route}' if model else 'empty'}; load {load:.1f}; microseconds of processor time")
    for row in rows:
        numbers = "  ".join(f"{name} {value:9.1f}" for name, value in row.items() if name != "what")
        print(f"{row['what']:48}  {numbers}")
    if given.output:
        given.output.write_text(json.dumps({"load": load, "rows": rows}, indent=2), encoding="utf-8")
    return rows


if __name__ == "__main__":
    main()
