"""What the benches of replay share: a recording pushed as it is, out of order, with doubles and with holes."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mambats.streaming import Answer, ClockRule, Engine, Packet, Policy, StreamRunner

MS = 1_000_000
LOSSES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5)


class Replay(NamedTuple):
    """A recording to be pushed, and what it should give.

    Args:
        name: Of the recording.
        engine: That takes it.
        packets: In the order of their stamps.
        wanted: Answers of the batch pass by stamp, each arrays by name.
        lateness_ns: By which packets may be delayed.
        wait_ns: Of which so much is waited for; the rest by going back.
        tick_ns: At which the engine is asked, or None.
    """

    name: str
    engine: Engine
    packets: list[Packet]
    wanted: Mapping[int, Mapping[str, np.ndarray]]
    lateness_ns: int
    wait_ns: int = 0
    tick_ns: int | None = None

    def policy(self) -> Policy:
        """Return how it is pushed."""
        clock = ClockRule(ahead_ns=60_000 * MS) if self.tick_ns else ClockRule()
        return Policy(
            lateness_ns=self.lateness_ns - self.wait_ns, wait_ns=self.wait_ns, queue_size=100_000,
            provisional=False, tick_ns=self.tick_ns, clock=clock,
        )  # fmt: skip


def pushed(replay: Replay, packets: Iterable[Packet]) -> tuple[list[Answer], StreamRunner]:
    """Push packets one by one; return the settled answers."""
    runner = StreamRunner(replay.engine, replay.policy())
    answers = [answer for packet in packets for answer in runner.push(*packet)]
    answers = [answer for answer in answers + runner.flush() if answer.outputs]
    if not runner.counters.balanced():
        raise RuntimeError(f"{replay.name}: counters do not add up: {runner.counters.table()}")
    return answers, runner


def disordered(packets: Sequence[Packet], within_ns: int, doubled: float, seed: int) -> list[Packet]:
    """Return the order of arrival where each packet is delayed by up to `within_ns`, and a share comes twice."""
    random = np.random.default_rng([seed, 1])
    extra = [packet for packet in packets if random.random() < doubled]
    given = [*packets, *extra]
    delays = random.integers(0, within_ns + 1, len(given))
    return [given[at] for at in sorted(range(len(given)), key=lambda at: given[at].stamp_ns + delays[at])]


def lossy(packets: Sequence[Packet], share: float, seed: int) -> list[Packet]:
    """Return the packets that are left where a share is lost; the first, which begins the time, stays."""
    random = np.random.default_rng([seed, 2])
    return [packet for at, packet in enumerate(packets) if random.random() >= share or at == 0]


def apart(answers: Sequence[Answer], wanted: Mapping[int, Mapping[str, np.ndarray]]) -> float:
    """Return the largest difference of an output, relative to its largest number; infinite where one is missing."""
    found = {answer.stamp_ns: answer.outputs for answer in answers}
    if found.keys() != wanted.keys():
        return math.inf
    scale, worst = dict[str, float](), dict[str, float]()
    for stamp, truth in wanted.items():
        for name, array in truth.items():
            mine = np.asarray(found[stamp][name], np.float64)
            if mine.shape != array.shape:
                mine = mine[: len(array)]
            scale[name] = max(scale.get(name, 0.0), float(np.abs(array).max(initial=0)))
            worst[name] = max(worst.get(name, 0.0), float(np.abs(mine - array).max(initial=0)))
    return max((worst[name] / scale[name] if scale[name] else worst[name] for name in worst), default=0.0)


def equality(replay: Replay, seed: int = 0) -> dict[str, Any]:
    """Push a recording as it is, and out of order with doubles."""
    began = time.process_time()
    clean, runner = pushed(replay, replay.packets)
    took = time.process_time() - began
    mixed, other = pushed(replay, disordered(replay.packets, replay.lateness_ns, 0.1, seed))
    table = other.counters.table()
    return {
        "recording": replay.name, "packets": len(replay.packets), "answers": len(clean),
        "push against batch": apart(clean, replay.wanted), "used": runner.counters.total("used"),
        "disorder identical": same(clean, mixed), "doubles": table["duplicate"], "late": table["late"],
        "us a push": 1e6 * took / len(replay.packets),
    }  # fmt: skip


def same(one: Sequence[Answer], other: Sequence[Answer]) -> bool:
    """Say whether answers are equal to the bit."""
    return len(one) == len(other) and all(
        a.stamp_ns == b.stamp_ns and all(np.array_equal(a.outputs[name], b.outputs[name]) for name in a.outputs)
        for a, b in zip(one, other, strict=True)
    )


def draw(curves: Mapping[str, Sequence[Mapping[str, Any]]], what: str, path: Path) -> None:
    """Draw curves of loss: of each name its rows with `loss`, the number `what` and its `spread`."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for name, given in curves.items():
        rows = sorted(given, key=lambda row: row["loss"])
        axes.errorbar([100 * row["loss"] for row in rows], [row[what] for row in rows],
                      [row["spread"] for row in rows], marker="o", capsize=2, label=name)  # fmt: skip
    axes.set(xlabel="packets lost, %", ylabel=f"{what}, online", ylim=(0, None))
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def parser_of(text: str) -> argparse.ArgumentParser:
    """Return what every replay may be told on the command line."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MAMBATS_DATA"), help="default: MAMBATS_DATA")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--losses", type=float, nargs="*", default=list(LOSSES))
    parser.add_argument("--output", type=Path, help="JSON of all rows")
    parser.add_argument("--picture", type=Path, help="PNG of the curves")
    return parser


def settle(given: argparse.Namespace) -> Path:
    """Return the folder of real recordings; one thread from here on."""
    if given.data is None:
        raise SystemExit("name the folder of real data: --data or MAMBATS_DATA")
    torch.set_num_threads(1)
    return Path(given.data) / "fusion"


def finish(given: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """Write what was found where it is asked for."""
    if given.output:
        given.output.write_text(json.dumps({**found, "load": os.getloadavg()}, indent=1))
