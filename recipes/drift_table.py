"""An inertial unit left alone in the air: drift after 1, 5 and 10 s, with biases from nowhere, a filter, an encoder.

    python recipes/drift_table.py --out results/odometry_euroc [--sequences MH_01_easy] [--seeds 0 1 2] [--steps 40]

Windows start every second from the true pose and velocity (velocity from the poses where a recording has no other).
The first half of each recording trains, the second half tests. Rows are online: a bias is found from what was read
before. "filter" has seen true positions until the window's start, as a robot that has just lost them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from mambats.encoders import CausalEncoder
from mambats.odometry.ins.bias import LearnedBias, constant_bias, cost, filtered_bias
from mambats.odometry.ins.flight import Flight, drift
from mambats.results import Row, table, write_results
from mambats_datasets import EuRoC

LENGTHS = (1, 5, 10)
GRAVITY = 9.81
BEFORE = 2  # seconds that the encoder reads before a window
SETTLED = 20  # seconds until the filter knows its biases; training windows start later


def score(name, source, found, truth, seed) -> list[Row]:
    """Rows of one model on one recording."""
    angle, _, way = drift(found, truth)
    rows = []
    for seconds in LENGTHS:
        errors = way[:, seconds - 1]
        values = {
            "position_mean_m": errors.mean(),
            "position_rmse_m": errors.square().mean().sqrt(),
            "rotation_mean_deg": angle[:, seconds - 1].mean().rad2deg(),
        }
        rows += [
            Row(name, source, "test", 0, seconds, metric, float(value), len(way), seed, "online")
            for metric, value in values.items()
        ]
        print(f"{source} {name:26s} {seconds:3d} s", {k: round(float(v), 4) for k, v in values.items()}, flush=True)
    return rows


def biases(model, flight, starts, known):
    """Biases of all samples of windows, and of the seconds before them read."""
    before = BEFORE * flight.rate
    readings = flight.readings[flight.samples(starts - before, LENGTHS[-1] + BEFORE)]
    return model(readings, known, before)


def train(model, flights, known, given, seed):
    """Lower the drift over windows of the training halves."""
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.AdamW(model.parameters(), 0.003, weight_decay=0.05)
    pools = [f.starts((0.0, 0.5), LENGTHS[-1], 0.25) for f in flights]
    pools = [pool[pool >= SETTLED * f.rate] for pool, f in zip(pools, flights, strict=True)]
    for step in range(given.steps):
        which = step % len(flights)
        flight, pool = flights[which], pools[which]
        starts = pool[torch.randperm(len(pool), generator=generator)[: given.batch]]
        adam.zero_grad()
        found = flight.reckon(starts, LENGTHS[-1], biases(model, flight, starts, known[which](starts)), GRAVITY)
        value = cost(found, flight.truth(starts, LENGTHS[-1]))
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        if step % 10 == 0:
            print(f"  step {step}: {float(value.detach()):.4f}", flush=True)
    return model


def main() -> None:
    """Fit, score, write."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("results/odometry_euroc"))
    options.add_argument("--sequences", nargs="*", default=["MH_01_easy"])
    options.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--batch", type=int, default=24)
    given = options.parse_args()
    recordings = EuRoC(sequences=given.sequences, faults="repair").recordings()
    flights = [Flight.of(one) for one in recordings]
    rows, begin = list[Row](), time.time()
    known: dict[str, list] = {"constant": [], "filter": []}
    for recording, flight in zip(recordings, flights, strict=True):
        starts = flight.starts((0.5, 1.0), LENGTHS[-1])
        truth = flight.truth(starts, LENGTHS[-1])
        one = constant_bias(flight, flight.starts((0.0, 0.5), LENGTHS[-1], 3.0), LENGTHS[-1], GRAVITY)
        found, at = filtered_bias(flight, GRAVITY)
        known["constant"].append(lambda s, b=one: b.expand(len(s), 6))
        known["filter"].append(lambda s, b=found, at=at: b[torch.searchsorted(at, s, right=True) - 1])
        print(f"biases in {time.time() - begin:.0f} s", one.tolist(), found[-1].tolist(), flush=True)
        named = {"strapdown, no bias": torch.zeros(1, 6).double(), "constant bias, fitted": one[None]}
        named["filter's bias"] = known["filter"][-1](starts)
        for name, bias in named.items():
            reckoned = flight.reckon(starts, LENGTHS[-1], bias[:, None], GRAVITY)
            rows += score(name, recording.name, reckoned, truth, None)
    for seed in given.seeds:
        for base in ("constant", "filter"):
            torch.manual_seed(seed)
            model = LearnedBias(CausalEncoder(6, width=16, layers=1)).double()
            train(model, flights, known[base], given, seed)
            for recording, flight, bias in zip(recordings, flights, known[base], strict=True):
                starts = flight.starts((0.5, 1.0), LENGTHS[-1])
                with torch.no_grad():
                    moved = biases(model, flight, starts, bias(starts))
                    reckoned = flight.reckon(starts, LENGTHS[-1], moved, GRAVITY)
                name = f"learned on {base} bias"
                rows += score(name, recording.name, reckoned, flight.truth(starts, LENGTHS[-1]), seed)
            write_results(given.out / "results.json", rows)
            print(f"{time.time() - begin:.0f} s", flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
