"""What lost packets and silent sensors cost a trained navigator on a stream: faults 4 and 10, online.

    mambats fit --config recipes/fusion/demo.yaml
    OMP_NUM_THREADS=1 python datasets/bench_faults_navigator.py --checkpoint runs/fusion-demo/checkpoints/best.ckpt

Simulated drives that it never saw go packet by packet through a `StreamRunner` to the navigator (a bank of filters and
a network of state-space layers that says which to believe), which answers ten times a second: whole, with packets of
all sensors lost, and with a sensor that stops half-way, beside the same navigator that never hears that sensor. RMSE of
the position over all drives in metres; every answer is online.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench_faults import CHANNELS, LOSSES, SECOND, packets
from mambats.bundle.rebuild import any_engine
from mambats.series import Recording
from mambats.streaming import ClockRule, Packet, Policy, StreamRunner
from mambats_datasets.synthetic.robot import SimulatedRobots


def squares(checkpoint: Path, drive: Recording, given: Sequence[Packet], after: int) -> npt.NDArray[np.float64]:
    """Return squared distances (n,) of the answers from so many nanoseconds after the start."""
    pose, velocity = drive.truth["pose"], drive.truth["velocity"]
    start = [*pose.values[0].tolist(), *velocity.values[0].tolist()]
    engine: Any = any_engine(checkpoint, start)
    policy = Policy(
        lateness_ns=50_000_000, tick_ns=engine.tick_ns, clock=ClockRule(ahead_ns=60 * SECOND), provisional=False
    )
    runner = StreamRunner(engine, policy)
    answers = [a for p in given for a in runner.push(*p)] + runner.flush()
    told = [a for a in answers if a.outputs and pose.stamps[0] + after < a.stamp_ns <= pose.stamps[-1]]
    said = np.array([a.outputs["position"] for a in told])
    if not np.isfinite(said).all() or not runner.counters.balanced():
        raise RuntimeError("an answer is not finite, or a packet is unaccounted for: please report this.")
    passed = np.array([a.stamp_ns for a in told]) - pose.stamps[0]
    wanted = np.stack([np.interp(passed, pose.stamps - pose.stamps[0], pose.values[:, k]) for k in range(3)], 1)
    return ((said - wanted) ** 2).sum(1)


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--drives", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each")
    parser.add_argument("--seed", type=int, default=77, help="of the drives")
    parser.add_argument("--losses", type=float, nargs="+", default=list(LOSSES))
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    robots = SimulatedRobots("robot", series=given.drives, duration=given.seconds, seed=given.seed).recordings()
    drives = [(drive, packets(drive)) for drive in robots]
    half, random, begun = int(given.seconds * SECOND / 2), np.random.default_rng(7), time.time()
    cases: list[tuple[str, list[list[Packet]], int]] = [
        (f"lost {share:.0%}", [[p for p in each if random.random() >= share] for _, each in drives], 0)
        for share in given.losses
    ]
    cases.append(("whole, second half", [each for _, each in drives], half))
    for name in CHANNELS:
        ends = [drive.truth["pose"].stamps[0] + half for drive, _ in drives]
        late = [
            [p for p in each if p.stream != name or p.stamp_ns <= e] for (_, each), e in zip(drives, ends, strict=True)
        ]
        cases.append((f"{name} silent from half-way", late, half))
        cases.append((f"never had {name}", [[p for p in each if p.stream != name] for _, each in drives], half))
    table = dict[str, Any]()
    for name, sets, after in cases:
        found = [squares(given.checkpoint, drive, part, after) for (drive, _), part in zip(drives, sets, strict=True)]
        table[name] = {
            "rmse_m": float(np.sqrt(np.concatenate(found).mean())),
            "each_m": [round(float(np.sqrt(part.mean())), 4) for part in found],
        }
        print(f"{name:<28} {table[name]['rmse_m']:8.3f} m   drives {table[name]['each_m']}", flush=True)
    if given.output:
        facts = {"load": os.getloadavg()[0], "seconds": round(time.time() - begun)}
        given.output.write_text(json.dumps({**table, **facts}, indent=2))
    return table


if __name__ == "__main__":
    main()
