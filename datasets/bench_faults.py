"""What lost packets and silent sensors cost a trained fusion network on a stream: faults 4 and 10, online.

    OMP_NUM_THREADS=1 python datasets/bench_faults.py --seeds 0 1 2 --output faults.json

A network of state-space layers (`StreamFusion`) learns from simulated drives how fast a robot goes (v, m/s) and turns
(w, rad/s) from an inertial unit, wheels and a satellite receiver. Then other drives go packet by packet through a
`StreamRunner`, which asks ten times a second: whole, with packets of all sensors lost, and with a sensor that stops
half-way, beside a network that was trained without that sensor. Trained twice: on whole windows, and on windows of
which packets are lost and sensors fall silent (`faults`). RMSE over all drives; every answer is online.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from mambats.encoders.fusion import StreamFusion
from mambats.mixers import MambaSettings
from mambats.regress.stream_model import StreamRegressor
from mambats.series import SensorRows, SensorWindow
from mambats.streaming import ClockRule, Packet, Policy, StreamRunner
from mambats.streaming.engines.regressor import RegressorEngine

if TYPE_CHECKING:
    from mambats.series import Recording

SECOND, TICK = 10**9, 10**8
CHANNELS = {"imu": 6, "wheel": 2, "gnss": 3}
TARGETS = ("v", "w")
LOSSES = (0.0, 0.01, 0.1, 0.2, 0.5)
SILENT = ("wheel", "gnss")
WARM = 2 * SECOND  # of a drive, not scored

Truth = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
Errors = dict[str, list[float]]
Drives = Sequence[tuple[list[Packet], Truth]]


def windows(series: int, seed: int) -> SensorWindow:
    """Draw training windows of four seconds, asked five times a second."""
    from mambats.data import Fractions
    from mambats.data.sensor_module import SensorDataModule
    from mambats_datasets.synthetic.own_motion import OwnMotion
    from mambats_datasets.synthetic.robot import SimulatedRobots

    robots = OwnMotion(SimulatedRobots("robot", series=series, duration=8.2, seed=seed), every=20)
    module = SensorDataModule(robots, list(CHANNELS), 4.0, truth=("motion",), split=Fractions(train=0.9, test=0.05))
    module.prepare_data()
    module.setup("fit")
    return module.windows("train")


def spoilt(window: SensorWindow) -> SensorWindow:
    """Lose up to half of the packets in half of the windows, and in half let one sensor fall silent or never speak."""
    batch = len(window)
    share = torch.rand(batch, 1) * 0.5 * (torch.rand(batch, 1) < 0.5)
    silent, begins = torch.randint(len(window.streams), (batch, 1)), (2 * torch.rand(batch, 1) - 1) * window.length_ns
    quiet = torch.rand(batch, 1) < 0.5
    streams = dict[str, SensorRows]()
    for number, (name, rows) in enumerate(window.streams.items()):
        gone = quiet & (silent == number) & (rows.stamps > begins)
        streams[name] = replace(rows, mask=rows.mask & ~gone & (torch.rand(rows.mask.shape) >= share))
    return replace(window, streams=streams)


def train(window: SensorWindow, without: str | None, faults: bool, seed: int, steps: int) -> StreamRegressor:
    """Fit a network, with or without a sensor."""
    torch.manual_seed(seed)
    streams = {name: width for name, width in CHANNELS.items() if name != without}
    window = replace(window, streams={name: window.streams[name] for name in streams})
    encoder = StreamFusion({**streams, "ask": 0}, 16, 2, period_ns=TICK, mixer=MambaSettings(state_size=8))
    model, asked = StreamRegressor(encoder, TARGETS), window.truth["motion"]
    model.scale(asked.values[asked.mask])
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, steps, pct_start=0.1)
    for _ in range(steps):
        batch = window.take(torch.randperm(len(window))[:16].tolist())
        batch = spoilt(batch) if faults else batch
        truth = batch.truth["motion"]
        answer = model(batch.streams, truth, batch.length_ns)
        wanted = model.scaler.transform(truth.values)
        loss = torch.nn.functional.smooth_l1_loss(answer[truth.mask], wanted[truth.mask])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


def drives(count: int, seconds: float, seed: int) -> Drives:
    """Draw drives as packets in the order of time, with the truth at 100 Hz."""
    from mambats_datasets.synthetic.own_motion import OwnMotion
    from mambats_datasets.synthetic.robot import SimulatedRobots

    robots = OwnMotion(SimulatedRobots("robot", series=count, duration=seconds, seed=seed), every=1)
    return [(packets(recording), truth(recording)) for recording in robots.recordings()]


def packets(recording: Recording) -> list[Packet]:
    """Return the rows of all sensors."""
    found = list[Packet]()
    for name in CHANNELS:
        stream = recording.streams[name]
        values = stream.values.astype(np.float32)
        if stream.observed is not None:
            values = np.where(stream.observed, values, np.float32(np.nan))
        found += [Packet(name, int(s), v) for s, v in zip(stream.stamps, values, strict=True) if np.isfinite(v).any()]
    return sorted(found, key=lambda packet: packet.stamp_ns)


def truth(recording: Recording) -> Truth:
    """Return stamps and v, w."""
    motion = recording.truth["motion"]
    return motion.stamps, motion.values.astype(np.float64)


def rmse(model: StreamRegressor, given: Drives, after: int) -> list[float]:
    """Return the error of each target over drives, from so many nanoseconds after their start.

    Drives run side by side, as robots of one batch; every answer must be a number.
    """
    policy = Policy(lateness_ns=50_000_000, tick_ns=TICK, clock=ClockRule(ahead_ns=60 * SECOND), provisional=False)
    runner = StreamRunner(RegressorEngine(model, TICK), policy, rows=len(given))
    known = model.encoder.streams
    every = [p._replace(row=row) for row, (each, _) in enumerate(given) for p in each if p.stream in known]
    every.sort(key=lambda packet: packet.stamp_ns)
    answers = [a for _, part in groupby(every, lambda p: p.stamp_ns // 10_000_000) for a in runner.push_many(part)]
    found = list[npt.NDArray[np.float64]]()
    for answer in answers + runner.flush():
        stamps, values = given[answer.row][1]
        if stamps[0] + after < answer.stamp_ns <= stamps[-1]:
            passed = answer.stamp_ns - stamps[0]
            wanted = [float(np.interp(passed, stamps - stamps[0], column)) for column in values.T]
            found.append(np.array([float(answer.outputs[name]) for name in TARGETS]) - wanted)
    if not np.isfinite(found).all() or not runner.counters.balanced():
        raise RuntimeError("an answer is not finite, or a packet is unaccounted for: please report this.")
    return np.sqrt(np.square(found).mean(0)).tolist()


def lost(given: Drives, share: float) -> Drives:
    """Lose a share of the packets of every drive."""
    random = np.random.default_rng(7)
    return [([p for p in each if random.random() >= share], right) for each, right in given]


def silenced(given: Drives, name: str, after: int) -> Drives:
    """Let a sensor fall silent so many nanoseconds after the start of every drive."""
    return [
        ([p for p in each if p.stream != name or p.stamp_ns <= right[0][0] + after], right) for each, right in given
    ]


def study(window: SensorWindow, test: Drives, given: argparse.Namespace, seed: int, faults: bool) -> Errors:
    """Train and measure: errors by what was done to the packets."""
    half = int(given.seconds * SECOND / 2)
    model = train(window, None, faults, seed, given.steps)
    found = {f"lost {share:.0%}": rmse(model, lost(test, share), WARM) for share in given.losses}
    found["whole, second half"] = rmse(model, test, half)
    for name in given.silent:
        found[f"{name} silent from half-way"] = rmse(model, silenced(test, name, half), half)
        bare = train(window, name, faults, seed, given.steps)
        found[f"never had {name}"] = rmse(bare, test, half)
    return found


def ratios(found: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return what the marks are about: lost over whole, silent over never had."""
    made = {
        name: [a / b for a, b in zip(found[name], found["lost 0%"], strict=True)]
        for name in found
        if name.startswith("lost ") and name != "lost 0%"
    }
    for name in (each.removeprefix("never had ") for each in found if each.startswith("never had ")):
        pairs = zip(found[f"{name} silent from half-way"], found[f"never had {name}"], strict=True)
        made[f"{name} silent / never had"] = [a / b for a, b in pairs]
    return made


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--series", type=int, default=120, help="drives to learn from")
    parser.add_argument("--steps", type=int, default=250, help="of training")
    parser.add_argument("--drives", type=int, default=6, help="to test on")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of these")
    parser.add_argument("--losses", type=float, nargs="+", default=list(LOSSES))
    parser.add_argument("--silent", choices=SILENT, nargs="*", default=list(SILENT), help="sensors that stop")
    parser.add_argument("--trained_on", choices=("whole", "faults"), nargs="+", default=["whole", "faults"])
    parser.add_argument("--output", type=Path)
    return parser.parse_args(words)


def show(kind: str, each: Sequence[Errors]) -> dict[str, Any]:
    """Print the errors of all seeds in the mean, and ratios seed by seed; return both."""
    mean = {name: np.mean([found[name] for found in each], 0).tolist() for name in each[0]}
    over = [ratios(found) for found in each]
    made = {"rmse": mean, "ratio": {name: [found[name] for found in over] for name in over[0]}}
    print(f"\ntrained on {kind}, {len(each)} seeds, RMSE of {', '.join(TARGETS)}, online")
    for name, values in mean.items():
        print(f"  {name:<32}" + "".join(f"{value:9.4f}" for value in values))
    for name, values in made["ratio"].items():
        print(f"  {name:<32}" + "  ".join(f"{v:.2f} {w:.2f}" for v, w in values) + "  (ratios, a seed each)")
    return made


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    """Train, measure and print."""
    given = arguments(words)
    torch.set_num_threads(1)
    found, begun = dict[str, list[Errors]](), time.time()
    for seed in given.seeds:
        window, test = windows(given.series, 100 + seed), drives(given.drives, given.seconds, 500 + seed)
        for kind in given.trained_on:
            found.setdefault(kind, []).append(study(window, test, given, seed, kind == "faults"))
    table: dict[str, Any] = {kind: show(kind, each) for kind, each in found.items()}
    if given.output:
        table["load"], table["seconds"] = os.getloadavg()[0], round(time.time() - begun)
        given.output.write_text(json.dumps(table, indent=2))
    return table


if __name__ == "__main__":
    main()
