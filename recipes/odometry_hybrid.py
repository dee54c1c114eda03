"""Two more rows of the odometry table: the filter tuned by likelihood, and the hybrid, whose noise an encoder sets.

    python recipes/odometry_hybrid.py tune runs/odometry              # likelihood.json, and plain.json beside it
    python recipes/odometry_hybrid.py train runs/odometry --seed 0    # hybrid_0.json; `score` does its last part again

Both are scored online on the test drives of `odometry_table.py`, from the same starts. Filters wait for launches: a
run of 2,000 drives takes as long as one of 20, so settings and conditions are run side by side.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from odometry_table import DEVICE, FIRST_SEED
from torch import Tensor, nn

from mambats.encoders import CausalEncoder
from mambats.estimators.inertial import InertialFilter
from mambats.estimators.learned import LearnedNoise
from mambats.odometry import RandomFaults, standard_faults
from mambats.odometry.bank import ready
from mambats.odometry.degrade import NOMINAL, side_by_side
from mambats.odometry.hybrid import StudentLoss, follow, hybrid_filter, lessons
from mambats.odometry.navigation import Navigation, truth_at
from mambats.odometry.robot import START, inertial_filter
from mambats.odometry.score import scores
from mambats.odometry.start import drawn_start
from mambats.odometry.tuning import Setting, beside, repeated, settings_of, surprises, tune
from mambats.series import SensorRows, SensorWindow
from mambats.task import Optimiser
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows

TICK_NS = 100_000_000
SECOND = 1_000_000_000


class Field(NamedTuple):
    """Drives ready to be filtered: what the sensors said, the truth at every tick, and where each starts."""

    rows: dict[str, SensorRows]
    truth: Navigation
    start: Navigation
    length_ns: int
    labels: list[str]  #: conditions, equally many drives of each, one behind the other

    def of(self, estimate: Navigation) -> dict[str, dict[str, float]]:
        """Return scores by condition."""
        parts = [error.chunk(len(self.labels)) for error in (estimate.error(self.truth), estimate.covariance)]
        return {label: scores(*pair) for label, *pair in zip(self.labels, *parts, strict=True)}


def drawn(seed: int, count: int, seconds: float) -> SensorWindow:
    """Return a window of drives; the device is part of the seed."""
    robots = SimulatedRobots("robot", duration=seconds)
    return robot_windows(robots, count, torch.Generator(DEVICE).manual_seed(seed))


def faulty_field(seed: int, count: int, given: argparse.Namespace) -> Field:
    """Return training drives, each with a fault of its own or none."""
    generator, sound = torch.Generator().manual_seed(seed), drawn(seed, count, given.lesson)
    window = RandomFaults(healthy=0.15, delay=0.3)(sound, generator)
    window = replace(window, streams={name: on_ticks(sound.streams[name], one) for name, one in window.streams.items()})
    rows, start = ready(window, TICK_NS), drawn_start(window, START, generator)
    return Field(rows, truth_at(window.truth, rows["query"].stamps), start, window.length_ns, ["random"])


def on_ticks(sound: SensorRows, faulty: SensorRows) -> SensorRows:
    """Return rows whose delay is rounded down to whole ticks.

    Drives then share their moments, 10 a second, where delays of any length make 25 with every sensor in each.
    """
    delay = torch.where(faulty.mask, faulty.stamps - sound.stamps, 0).amax(1, keepdim=True)
    return replace(faulty, stamps=(faulty.stamps - delay % TICK_NS) * faulty.mask)


def conditions(split: str, count: int, given: argparse.Namespace) -> Field:
    """Return the drives of a split under every condition; of the test split, those of `odometry_table.py`."""
    window = drawn(FIRST_SEED[split], count, given.duration)
    start = drawn_start(window, START, torch.Generator().manual_seed(0))
    faults = {fault.label: fault(window, torch.Generator().manual_seed(1)) for fault in standard_faults()}
    every = {NOMINAL: window} | faults
    joined = side_by_side(list(every.values()))
    rows = ready(joined, TICK_NS)
    start = Navigation(*(part.repeat(len(every), *[1] * (part.ndim - 1)) for part in start))
    return Field(rows, truth_at(joined.truth, rows["query"].stamps), start, joined.length_ns, list(every))


def judged(model: InertialFilter | LearnedNoise, field: Field) -> dict[str, dict[str, float]]:
    """Return the scores of a filter by condition."""
    return field.of(follow(model, field.rows, field.length_ns, began(model, field.start)))


def began(model: InertialFilter | LearnedNoise, start: Navigation) -> Any:
    """Return a filter's state at the start."""
    if isinstance(model, LearnedNoise):
        return model.started(began(model.estimator, start))  # pyright: ignore[reportArgumentType]
    return model.aligned(*start[:3], START)


def tuned(given: argparse.Namespace) -> None:
    """Tune the filter by likelihood on sound training drives; score it and the filter set by hand."""
    began_at = time.monotonic()
    plain = inertial_filter().double().to(DEVICE)
    window = drawn(FIRST_SEED["train"], given.drives, given.duration)
    rows, start = ready(window, TICK_NS), drawn_start(window, START, torch.Generator().manual_seed(FIRST_SEED["train"]))

    def score(settings: Sequence[Setting]) -> list[float]:
        times = len(settings)
        every = {name: repeated(one, times) for name, one in rows.items()}
        whence = Navigation(*(part.repeat(times, *[1] * (part.ndim - 1)) for part in start))
        made = beside(plain, settings, given.drives)
        found = surprises(made, every, window.length_ns, began(made, whence), times).tolist()
        print(f"{times} settings, best {min(found):.5f}, {time.monotonic() - began_at:.0f} s", flush=True)
        return found

    by_hand = settings_of(plain, given.names)
    best = tune(by_hand, score, given.rounds)
    for name, values in best.items():
        print(f"{name}: by hand {_short(by_hand[name])}, by likelihood {_short(values)}", flush=True)
    first, last = score([by_hand, best])
    told = {"by_hand": by_hand, "likelihood": best, "nats_by_hand": first, "nats": last, "drives": given.drives}
    (given.folder / "likelihood_settings.json").write_text(json.dumps(told, indent=1))
    field = conditions("test", given.test, given)
    for file, setting in (("likelihood", best), ("plain", by_hand)):
        made = judged(beside(plain, [setting], len(field.start.position)), field)
        (given.folder / f"{file}.json").write_text(json.dumps(made, indent=1))
        told = {label: round(row["position"], 3) for label, row in made.items()}
        print(f"{file}: {told}, {time.monotonic() - began_at:.0f} s", flush=True)


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]


class Teacher:
    """Trains the hybrid: a step behind every piece of a drive, the learning rate by what is done or by the clock."""

    def __init__(self, model: LearnedNoise, given: argparse.Namespace) -> None:
        self.model, self.given, self.began = model, given, time.monotonic()
        self.head, self.rest = list(model.head.parameters()), list(model.encoder.parameters())
        groups = [{"params": self.head, "lr": given.lr}, {"params": self.rest, "lr": 0.3 * given.lr}]
        self.rates = [float(group["lr"]) for group in groups]
        self.optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)
        self.loss, self.schedule = StudentLoss(position=given.position, regret=given.regret), Optimiser(lr=given.lr)
        self.done, self.spoilt = 0.0, 0

    @property
    def seconds(self) -> float:
        """Since the training began."""
        return time.monotonic() - self.began

    def teach(self, field: Field, share: float) -> float:
        """Go through drives once, for a share of the training; return the mean loss."""
        self.model.train()
        first, told, passed, plain = 0, list[float](), self.done, self._plain(field)
        state, piece = began(self.model, field.start), round(self.given.piece * SECOND)
        for estimate, now in lessons(self.model, field.rows, field.length_ns, state, piece):
            ticks = estimate.position.shape[1]
            truth = Navigation(*(part[:, first : first + ticks] for part in field.truth))
            error, other = estimate.error(truth), None if plain is None else plain[:, first : first + ticks]
            value, first = self.loss(error, estimate.covariance, other), first + ticks
            idle = now.scale.log().square().mean()  # pyright: ignore[reportAttributeAccessIssue]
            told.append(self._step(value, value + self.given.idle * idle))
            part = share * first / field.truth.position.shape[1]
            self.done = max(passed + part, self.seconds / self.given.seconds) + 1e-9  # sums of shares fall short of 1
            if self.done >= 1:
                break
        return fmean(told)

    def _plain(self, field: Field) -> Tensor | None:
        """Return the errors of the plain filter on the same drives, where the loss compares with them."""
        if not self.given.regret:
            return None
        filter_ = self.model.estimator
        assert isinstance(filter_, InertialFilter)
        return follow(filter_, field.rows, field.length_ns, began(filter_, field.start)).error(field.truth)

    def _step(self, value: Tensor, cost: Tensor) -> float:
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.schedule.factor(int(1000 * self.done), 1000)
        self.optimiser.zero_grad(set_to_none=True)
        cost.backward()
        size = nn.utils.clip_grad_norm_([*self.head, *self.rest], 1.0)
        if bool(torch.isfinite(size)):
            self.optimiser.step()
        else:
            self.spoilt += 1
        return value.item()


def made_hybrid(given: argparse.Namespace) -> LearnedNoise:
    """Return an untrained hybrid."""
    plain = inertial_filter().double().to(DEVICE)
    return hybrid_filter(plain, CausalEncoder(LearnedNoise.channels_for(plain), given.width, 1)).to(DEVICE)


def train(given: argparse.Namespace) -> None:
    """Train the hybrid on faulty drives, keep what was best on validation drives, score it on test drives."""
    clock = time.monotonic()
    torch.manual_seed(given.seed)
    model, field = made_hybrid(given), conditions("val", given.val, given)
    reference = judged(inertial_filter().double().to(DEVICE), field)
    given.seconds -= time.monotonic() - clock
    teacher, course, best, passes = Teacher(model, given), list[dict[str, Any]](), 0.0, 0
    keep(model, given, {"pass": 0})
    while teacher.done < 1:
        seed = FIRST_SEED["train"] + 100_000 * (1 + given.seed) + passes
        value, passes = teacher.teach(faulty_field(seed, given.batch, given), 1 / given.passes), passes + 1
        print(f"{given.seed} pass {passes}: {value:.3f}, {teacher.seconds:.0f} s, spoilt {teacher.spoilt}", flush=True)
        if passes % given.look == 0 or teacher.done >= 1:
            model.eval()
            ratios = {name: row["position"] / reference[name]["position"] for name, row in judged(model, field).items()}
            cost = worth(list(ratios.values()))
            course.append({"pass": passes, "loss": value, "cost": cost, "ratios": ratios})
            print(f"  cost {cost:.3f}: { {name: round(one, 3) for name, one in ratios.items()} }", flush=True)
            if cost < best:
                best = cost
                keep(model, given, {"pass": passes, "course": course, "spoilt": teacher.spoilt})
    report(given)
    print(f"{given.seed}: {time.monotonic() - clock:.0f} s", flush=True)


def keep(model: LearnedNoise, given: argparse.Namespace, told: dict[str, Any]) -> None:
    """Write the hybrid, with what is told of it."""
    torch.save({"model": model.state_dict(), "told": told}, given.folder / f"hybrid_{given.seed}.pt")


def worth(ratios: list[float]) -> float:
    """Return the mean logarithm of the errors over the plain filter's, and five times the worst where that loses."""
    logs = [math.log(ratio) if ratio > 0 else math.inf for ratio in ratios]
    return fmean(logs) + 5 * max(0.0, *logs) if all(map(math.isfinite, logs)) else math.inf


def report(given: argparse.Namespace) -> None:
    """Score test drives, and say by which factors the noises stood at the end of each condition's drives."""
    kept = torch.load(given.folder / f"hybrid_{given.seed}.pt", map_location=DEVICE)
    model = made_hybrid(given).eval()
    model.load_state_dict(kept["model"])
    field = conditions("test", given.test, given)
    made, state = list[Navigation](), began(model, field.start)
    with torch.no_grad():
        for estimate, now in lessons(model, field.rows, field.length_ns, state, 5 * SECOND):
            made, state = [*made, estimate], now
    found = field.of(Navigation(*(torch.cat(part, 1) for part in zip(*made, strict=True))))
    factors = dict[str, dict[str, list[float]]]()
    for label, scale in zip(field.labels, state.scale.chunk(len(field.labels)), strict=True):
        middle = scale.median(0).values
        factors[label] = {name: _short(model.factors(middle, name).tolist()) for name in ("", "gnss", "wheel")}
    result = {"fusion": "hybrid", "seed": given.seed, "test": found, "factors_at_end": factors} | kept["told"]
    (given.folder / f"hybrid_{given.seed}.json").write_text(json.dumps(result, indent=1))
    print({label: round(row["position"], 3) for label, row in found.items()}, flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    for name, action in (("tune", tuned), ("train", train), ("score", report)):
        task = tasks.add_parser(name)
        task.add_argument("folder", type=Path)
        task.add_argument("--duration", type=float, default=60.0, help="of a drive, s")
        task.add_argument("--test", type=int, default=128, help="test drives of a condition")
        task.set_defaults(action=action)
        if name != "tune":
            task.add_argument("--seed", type=int, default=0)
            task.add_argument("--width", type=int, default=32)
    searched, taught = (tasks.choices[name] for name in ("tune", "train"))
    searched.add_argument("--names", nargs="+", default=["imu", "gnss", "wheel"])
    searched.add_argument("--drives", type=int, default=48)
    searched.add_argument("--rounds", type=int, default=3)
    for option, value in (("passes", 20), ("batch", 384), ("val", 24), ("look", 3)):
        taught.add_argument(f"--{option}", type=int, default=value)
    taught.add_argument("--lesson", type=float, default=60.0, help="of a training drive, s")
    taught.add_argument("--lr", type=float, default=1e-2, help="of the head; the encoder's is 0.3 of it")
    taught.add_argument("--piece", type=float, default=2.0, help="seconds that gradients reach back")
    taught.add_argument(
        "--seconds", type=float, default=200.0, help="from the command's start, when training ends at the latest"
    )
    taught.add_argument("--position", type=float, default=0.3, help="weight of the squared error of position")
    taught.add_argument("--regret", type=float, default=1.0, help="weight of losing to the plain filter; 0 for none")
    taught.add_argument("--idle", type=float, default=1e-3, help="weight of squared log factors")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    given.action(given)


if __name__ == "__main__":
    main()
