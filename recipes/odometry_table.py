"""The odometry table: four kinds of fusion beside filters and fixes, on held-out drives, sound and with every fault.

    python recipes/odometry_table.py prepare runs/odometry            # drives, filters: once
    python recipes/odometry_table.py train runs/odometry --fusion stream --seed 0
    python recipes/odometry_table.py table runs/odometry

Everything is drawn from seeds; training, validation and test drives have seeds of their own. On a GPU of 80 GB
`prepare` takes minutes and a training of 2,000 steps two; several trainings may run side by side. More training drives:
`prepare runs/odometry --only train --part 1` (2, 3, ...), on as many GPUs as there are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from mambats.encoders.fusion import ConcatenationFusion, EstimateFusion, EventFusion, StreamFusion
from mambats.odometry import FilterBank, GaussianLoss, Navigator, RandomFaults, standard_faults
from mambats.odometry.bank import ready
from mambats.odometry.contest import FILTERS, FIXES, Contest, held_fixes, single_sensors
from mambats.odometry.degrade import NOMINAL, side_by_side
from mambats.odometry.drives import Drives
from mambats.odometry.navigation import Navigation, truth_at
from mambats.odometry.score import scores
from mambats.odometry.start import drawn_start
from mambats.protocols import FusionEncoder
from mambats.series import SensorWindow
from mambats.task import Optimiser, parameter_groups
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows

KINDS = ("stream", "event", "estimate", "concatenation")
FIRST_SEED = {"train": 1_000, "val": 500_000, "test": 900_000}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def encoder_of(fusion: str, width: int, layers: int) -> FusionEncoder:
    """Return a fusion encoder of the navigator's streams; all kinds have the same width, layers and mixer."""
    streams, period_ns = Navigator.channels(), 100_000_000
    match fusion:
        case "stream":
            return StreamFusion(streams, width, layers, period_ns=period_ns, dropout=0.05)
        case "event":
            return EventFusion(streams, width, layers, period_ns=period_ns, dropout=0.05)
        case "estimate":
            return EstimateFusion(streams, width, layers, period_ns=period_ns, dropout=0.05)
        case _:
            return ConcatenationFusion(streams, width, layers, period_ns=period_ns, clock="state", dropout=0.05)


def made_navigator(fusion: str = "event", width: int = 8, layers: int = 1, gain: float = 1.0) -> Navigator:
    """Return an untrained navigator with the filters of a small robot."""
    return Navigator(encoder_of(fusion, width, layers), FilterBank(), gain=gain).to(DEVICE)


def windows_of(
    robots: SimulatedRobots, split: str, count: int, chunk: int, part: int = 0
) -> Iterator[tuple[int, SensorWindow]]:
    """Yield (seed, drives) of a split, `chunk` at a time; every part has seeds of its own."""
    first, chunks = FIRST_SEED[split], -(-count // chunk)
    for seed in range(first + part * chunks, first + (part + 1) * chunks):
        yield seed, robot_windows(robots, min(chunk, count), torch.Generator(DEVICE).manual_seed(seed))


def prepare(given: argparse.Namespace) -> None:
    """Draw drives, run the filters over them, and keep what they said."""
    given.folder.mkdir(parents=True, exist_ok=True)
    robots, model, began = SimulatedRobots("robot", duration=given.duration), made_navigator().eval(), time.monotonic()
    for split, count in (("train", given.train), ("val", given.val)):
        if split not in given.only:
            continue
        parts = list[Drives]()
        for seed, window in windows_of(robots, split, count, given.chunk, given.part):
            generator = torch.Generator().manual_seed(seed)
            faulty = RandomFaults()(window, generator)
            state = model.init_state(drawn_start(faulty, model.deviations, generator))
            prepared, _, _ = model.prepare(faulty, state)
            parts.append(Drives.of(prepared, truth_at(faulty.truth, prepared.stamps), 4).to("cpu"))
            print(f"{split}: {sum(map(len, parts))} drives, {time.monotonic() - began:.0f} s", flush=True)
        torch.save(Drives.joined(parts), given.folder / f"{split}_{given.part}.pt")
    if "test" in given.only:
        tests(given, robots, model)


def tests(given: argparse.Namespace, robots: SimulatedRobots, model: Navigator) -> None:
    """Keep the test drives under every fault, several at once, and score filters and single sensors."""
    window = next(windows_of(robots, "test", given.test, given.test))[1]
    start = drawn_start(window, model.deviations, torch.Generator().manual_seed(0))
    faults = {fault.label: fault(window, torch.Generator().manual_seed(1)) for fault in standard_faults()}
    conditions = list(({NOMINAL: window} | faults).items())
    tested, rows = dict[str, Drives](), dict[str, Any]()
    for begin in range(0, len(conditions), given.together):
        labels, windows = zip(*conditions[begin : begin + given.together], strict=True)
        drives, contest = judges(model, side_by_side(windows), repeated(start, len(windows)))
        for number, label in enumerate(labels):
            part = slice(number * given.test, (number + 1) * given.test)
            tested[label] = drives.take(torch.arange(part.start, part.stop))
            rows[label] = contest.part(part.start, part.stop).scores()
            print(f"test, {label}: filter {rows[label][FILTERS['all']]['position']:.3f} m", flush=True)
    rows[NOMINAL] |= alone(model, window, start)
    torch.save(tested, given.folder / "test.pt")
    (given.folder / "classical.json").write_text(json.dumps(rows, indent=1))


def repeated(start: Navigation, times: int) -> Navigation:
    """Return the same starts `times` times."""
    return Navigation(*(part.repeat(times, *[1] * (part.ndim - 1)) for part in start))


def judges(model: Navigator, window: SensorWindow, start: Navigation) -> tuple[Drives, Contest]:
    """Run the filters once: return what a navigator reads, on the CPU, and what the filters say by themselves."""
    prepared, each, _ = model.prepare(window, model.init_state(start))
    truth = truth_at(window.truth, prepared.stamps)
    found = {label: Navigation(*(part[:, :, i] for part in each)) for i, label in enumerate(FILTERS.values())}
    fixes = held_fixes(ready(window, model.bank.tick_ns)["gnss"], prepared.stamps)
    return Drives.of(prepared, truth, 2).to("cpu"), Contest(prepared.stamps, truth, found, fixes)


def alone(model: Navigator, window: SensorWindow, start: Navigation) -> dict[str, dict[str, float]]:
    """Return the scores of the inertial unit alone and of the wheels alone."""
    rows = ready(window, model.bank.tick_ns)
    found = single_sensors(model.bank, rows, window.length_ns, start, model)
    truth = truth_at(window.truth, rows["query"].stamps)
    return {name: scores(one.error(truth), one.covariance) for name, one in found.items()}


def answers(model: Navigator, drives: Drives) -> tuple[Tensor, Tensor]:
    """Return means and roots at the ticks asked."""
    token, _ = model.believe(drives.rows, drives.length_ns)
    return model.answer(token[:, drives.at], drives.found)


@torch.no_grad()
def judged(model: Navigator, drives: Drives, size: int = 128) -> tuple[Tensor, Tensor]:
    """Return errors and Cholesky factors over all drives."""
    model.eval()
    made = list[tuple[Tensor, Tensor]]()
    for index in torch.arange(len(drives)).split(size):
        part = drives.take(index).to(DEVICE)
        mean, root = answers(model, part)
        made.append((part.target - mean, root))
    model.train()
    error, root = (torch.cat(part) for part in zip(*made, strict=True))
    return error, root


def kept(folder: Path, split: str) -> Drives:
    """Return the drives of a split, all parts of it."""
    return Drives.joined([torch.load(file, weights_only=False) for file in sorted(folder.glob(f"{split}_*.pt"))])


def train(given: argparse.Namespace) -> None:
    """Train one navigator, calibrate it on validation drives, score it on test drives."""
    torch.manual_seed(given.seed)
    generator, began = torch.Generator().manual_seed(given.seed), time.monotonic()
    model = made_navigator(given.fusion, given.width, given.layers, given.gain).train()
    drives = kept(given.folder, "train").to(DEVICE)
    groups = parameter_groups(nn.ModuleList([model.encoder, model.head]), 0.01)
    settings, optimiser = Optimiser(lr=given.lr), torch.optim.AdamW(groups, lr=given.lr)
    loss = GaussianLoss()
    for step in range(given.steps):
        for group in optimiser.param_groups:
            group["lr"] = given.lr * settings.factor(step, given.steps)
        part = drives.take(torch.randint(len(drives), (given.batch,), generator=generator).to(DEVICE))
        part = part.mirrored((torch.rand(given.batch, generator=generator) < 0.5).to(DEVICE))
        value = loss(*answers(model, part), part.target)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        optimiser.step()
        if step % max(1, given.steps // 20) == 0:
            print(f"{given.fusion} {given.seed} step {step}: {value.item():.3f}, {time.monotonic() - began:.0f} s")
    model.calibrate(*judged(model, kept(given.folder, "val")))
    made = dict[str, Any]()
    for label, part in torch.load(given.folder / "test.pt", weights_only=False).items():
        error, root = judged(model, part)
        made[label] = scores(error, root @ root.mT)
        # Errors stand along the body here, the filters' in the world: of velocities that is not the same.
        del made[label]["velocity"]
    result = {"fusion": given.fusion, "seed": given.seed, "steps": given.steps, "test": made}
    (given.folder / f"{given.fusion}_{given.seed}.json").write_text(json.dumps(result, indent=1))
    torch.save(model.state_dict(), given.folder / f"{given.fusion}_{given.seed}.pt")


def table(given: argparse.Namespace) -> None:
    """Print RMSE of position of everyone under every fault, then how honest each is."""
    classical = json.loads((given.folder / "classical.json").read_text())
    found = {name: runs for name, runs in contestants(given.folder).items() if runs}
    names = [*(f"{name} ({len(runs)} seeds)" if len(runs) > 1 else name for name, runs in found.items())]
    print("| RMSE of position [m], online | " + " | ".join([*names, *FILTERS.values(), FIXES]) + " |")
    print("|---|" + "---:|" * (len(names) + len(FILTERS) + 1))
    for label, row in classical.items():
        cells = [_cell([run[label]["position"] for run in runs]) for runs in found.values()]
        cells += [_cell([row[name]["position"]]) if name in row else "-" for name in (*FILTERS.values(), FIXES)]
        print(f"| {label} | " + " | ".join(cells) + " |")
    metrics = [name for name in classical[NOMINAL][FILTERS["all"]] if name != "velocity"]
    print("\n| nominal | " + " | ".join(metrics) + " |\n|---|" + "---:|" * len(metrics))
    found |= {name: [{NOMINAL: row}] for name, row in classical[NOMINAL].items() if name != "untrained"}
    for name, runs in found.items():
        cells = [_cell([run[NOMINAL][m] for run in runs]) if m in runs[0][NOMINAL] else "-" for m in metrics]
        print(f"| {name} | " + " | ".join(cells) + " |")


def contestants(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the scores of every run by condition: of navigators, and of what `odometry_hybrid.py` left beside them."""
    runs = {kind: [json.loads(f.read_text())["test"] for f in sorted(folder.glob(f"{kind}_*.json"))] for kind in KINDS}
    hybrids = sorted(folder.glob("hybrid_*.json"))
    runs["learned noise in the filter"] = [json.loads(f.read_text())["test"] for f in hybrids]
    runs["filter by likelihood"] = [json.loads(f.read_text()) for f in folder.glob("likelihood.json")]
    return runs


def _cell(values: list[float]) -> str:
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    for name, action in (("prepare", prepare), ("train", train), ("table", table)):
        task = tasks.add_parser(name)
        task.add_argument("folder", type=Path)
        task.set_defaults(action=action)
        if name == "prepare":
            for option, value in (("train", 2560), ("val", 384), ("test", 128), ("chunk", 640), ("together", 5)):
                task.add_argument(f"--{option}", type=int, default=value)
            task.add_argument("--duration", type=float, default=60.0)
            task.add_argument("--only", nargs="*", choices=[*FIRST_SEED], default=[*FIRST_SEED])
            task.add_argument("--part", type=int, default=0, help="training drives of other seeds: for several GPUs")
        if name == "train":
            task.add_argument("--fusion", choices=KINDS, default="stream")
            for option, value in (("seed", 0), ("steps", 2000), ("width", 64), ("layers", 2), ("batch", 64)):
                task.add_argument(f"--{option}", type=int, default=value)
            task.add_argument("--lr", type=float, default=2e-3)
            task.add_argument("--gain", type=float, default=1.0, help="how fast training moves the weights")
    given = parser.parse_args()
    given.action(given)


if __name__ == "__main__":
    main()
