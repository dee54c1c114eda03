"""Real recordings through `StreamRunner.push`: the numbers of the batch pass, whatever way the packets come.

    python datasets/bench_replay.py                      # all of it; MAMBATS_DATA names the folder of real data
    python datasets/bench_replay.py --parts euroc --seconds 20 --seeds 1

- `euroc`: a drone's inertial unit and fixes through `NavigatorEngine`, against `Navigator.forward` over the whole
  flight. The fixes are the true places ten times a second with noise of 0.1 m: EuRoC has no receiver.
- `mcap`: a wheeled robot's odometry the same way, v and w of its twist and fixes of its pose once a second, for
  equality alone: the file has no inertial unit, without which that filter stands still.
- `forecast`: the MCAP file's twist through a forecaster, against `forward` over all its rows.

Navigator and forecaster are untrained: a freshly made navigator answers as its first error-state filter does. All
online. Disorder: every packet delayed by up to the lateness, a tenth sent twice. Differences are relative to the
largest number of an output. Loss: packets (frames) left out at random; each seed is another choice and other noise.
Frames of detections through a tracker: `bench_replay_tracks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mambats.streaming import Packet
from mambats.streaming.engines.facts import SERIES, ForecastFacts
from mambats.streaming.engines.navigator import NavigatorEngine
from replay import MS, Replay, apart, draw, equality, finish, lossy, parser_of, pushed, settle

#: What a fix of the drone and of the robot is off by, metres, and how often one comes.
FIX_NOISE = {"euroc": (0.1, 100 * MS), "mcap": (0.1, 1000 * MS)}


# Drives: an inertial unit, wheels and fixes through a navigator.


@dataclass(frozen=True)
class Drive:
    """A recording as a navigator reads it.

    Args:
        name: Of it.
        streams: Stamps (N,) and values (N, C) by the navigator's names.
        stamps: Of the truth, shape (N,).
        pose: px py pz qx qy qz qw, shape (N, 7).
    """

    name: str
    streams: dict[str, tuple[np.ndarray, np.ndarray]]
    stamps: np.ndarray
    pose: np.ndarray

    def packets(self) -> list[Packet]:
        """Return all rows in the order of their stamps."""
        order = ("imu", "gnss", "wheel")
        found = [
            (int(stamp), order.index(name), Packet(name, int(stamp), row.astype(np.float32)))
            for name, (stamps, values) in self.streams.items()
            for stamp, row in zip(stamps, values, strict=True)
        ]
        return [packet for *_, packet in sorted(found, key=lambda one: one[:2])]

    def place(self, stamps: np.ndarray) -> np.ndarray:
        """Return true places (N, 3) between those that are known."""
        return np.stack([np.interp(stamps, self.stamps, self.pose[:, k]) for k in range(3)], -1)

    def start(self, stamp: int) -> list[float]:
        """Return true pose and velocity near a stamp."""
        at = int(np.clip(np.searchsorted(self.stamps, stamp), 0, len(self.stamps) - 1))
        step = 50 * MS
        speed = (self.place(np.array([stamp + step])) - self.place(np.array([stamp - step])))[0] / (2e-9 * step)
        return [*self.place(np.array([stamp]))[0], *self.pose[at, 3:], *speed]


def fixes(drive: Drive, kind: str, seed: int) -> Drive:
    """Add the true places with noise, so often as `FIX_NOISE` says, as the stream `gnss`."""
    deviation, period = FIX_NOISE[kind]
    first = -(-int(drive.stamps[0]) // period) * period
    stamps = np.arange(first, int(drive.stamps[-1]), period)
    random = np.random.default_rng([seed, 3])
    noisy = drive.place(stamps) + deviation * random.normal(size=(len(stamps), 3))
    return replace(drive, streams={**drive.streams, "gnss": (stamps, noisy)})


def euroc_drive(root: Path, seconds: float) -> Drive:
    """Read the flight while its truth is known, from zero on."""
    from mambats_datasets import EuRoC

    recording = EuRoC(str(root), faults="repair").recordings()[0]
    imu, pose = recording.streams["imu"], recording.truth["pose"]
    zero = int(pose.stamps[0])
    end = min(int(pose.stamps[-1]) - zero, round(seconds * 1e9))
    inside = (imu.stamps > zero) & (imu.stamps <= zero + end)
    streams = {"imu": (imu.stamps[inside] - zero, imu.values[inside])}
    known = pose.stamps - zero <= end
    return Drive("euroc MH_01", streams, pose.stamps[known] - zero, pose.values[known])


def mcap_drive(root: Path, seconds: float) -> Drive:
    """Read the robot's odometry; its own pose stands for the truth."""
    from mambats.formats import read_bag

    recording = read_bag(root / "io" / "nav2_turtlebot.mcap")
    twist, pose = recording.streams["odom/twist"], recording.streams["odom"]
    zero = int(pose.stamps[0])
    inside = (twist.stamps > zero) & (twist.stamps - zero <= seconds * 1e9)
    wheel = twist.values[inside][:, [twist.channels.index("vx"), twist.channels.index("wz")]]
    known = pose.stamps - zero <= seconds * 1e9
    streams = {"wheel": (twist.stamps[inside] - zero, wheel)}
    return Drive("mcap nav2_turtlebot", streams, pose.stamps[known] - zero, pose.values[known])


def navigator_of(kind: str) -> Any:
    """Return a freshly made navigator; of the drone, its first filter knows the sensors."""
    from mambats.encoders.fusion import EventFusion
    from mambats.estimators import ConstantNoise
    from mambats.estimators.inertial import InertialFilter
    from mambats.odometry import FilterBank, Navigator
    from mambats.odometry.robot import wheeled_filter

    torch.manual_seed(0)
    encoder = EventFusion(Navigator.channels(), 16, 1, period_ns=100 * MS)
    if kind == "euroc":
        # A bank shows every filter wheels and that they do not slide: here they are believed to a kilometre a second.
        wheels = {name: ConstantNoise([1e3, 1e3]) for name in ("wheel", "rolling")}
        fix = ConstantNoise([FIX_NOISE[kind][0]] * 3)
        noise = {"imu": ConstantNoise([2e-3, 2e-2, 2e-4, 3e-3]), "gnss": fix, **wheels}
        trust = 40.0  # nats: the first filter alone, untouched by those that are blind to the fixes
        return Navigator(encoder, FilterBank(InertialFilter(noise), wheeled_filter()), trust=trust).eval()
    return Navigator(encoder).eval()


def drive_replay(drive: Drive, kind: str) -> Replay:
    """Return a drive to be pushed; what it should give, `drive_batch` says."""
    model, packets = navigator_of(kind), drive.packets()
    engine = NavigatorEngine(model, drive.start(begin_of(packets, model.bank.tick_ns)))
    return Replay(drive.name, engine, packets, {}, 60 * MS, 40 * MS, model.bank.tick_ns)


def begin_of(packets: Sequence[Packet], tick_ns: int) -> int:
    """Return when the first tick begins."""
    return (-(-packets[0].stamp_ns // tick_ns) - 1) * tick_ns


def drive_batch(drive: Drive, kind: str, window_ns: int | None) -> dict[int, dict[str, np.ndarray]]:
    """Return `Navigator.forward` over windows that follow one another; None takes the whole drive as one.

    A window's readings are summed at the gyroscope bias of its start and put right to first order: the longer a window
    and the larger the bias, the further is that from what shorter windows give.
    """
    from mambats.odometry import Navigation
    from mambats.series import SensorRows, SensorWindow

    model, packets = navigator_of(kind), drive.packets()
    tick = model.bank.tick_ns
    first, last = begin_of(packets, tick), packets[-1].stamp_ns // tick * tick
    pose = torch.tensor(drive.start(first), dtype=torch.float64)[None]
    turn = pose[:, 3:7] / pose[:, 3:7].norm()
    state = model.init_state(Navigation(turn, pose[:, 7:], pose[:, :3], torch.zeros(1, 9, 9)))

    def rows(name: str, begin: int, end: int) -> SensorRows:
        stamps, values = drive.streams[name]
        inside = (stamps > begin) & (stamps <= end)
        mask = torch.ones(1, int(inside.sum()), dtype=torch.bool)
        table = torch.from_numpy(values[inside].astype(np.float32))[None]
        return SensorRows(table, mask, mask.float(), torch.from_numpy(stamps[inside] - begin)[None])

    none, found = torch.zeros(1, dtype=torch.int64), dict[int, dict[str, np.ndarray]]()
    for begin in range(first, last, window_ns or last - first):
        end = min(last, begin + (window_ns or last - first))
        window = SensorWindow({name: rows(name, begin, end) for name in drive.streams}, none, end - begin, none, {})
        with torch.no_grad():
            made, state = model(window, state)
        parts = {name: getattr(made, name)[0].double().numpy() for name in made._fields}
        for at in range((end - begin) // tick):
            found[begin + (at + 1) * tick] = {name: part[at] for name, part in parts.items()}
    return found


def drive_equality(drive: Drive, kind: str) -> list[dict[str, Any]]:
    """Push a drive; compare with windows of a tick, of a second, and the whole drive at once."""
    replay = drive_replay(drive, kind)
    answers, _ = pushed(replay, replay.packets)
    rows = [equality(replay._replace(wanted=drive_batch(drive, kind, replay.tick_ns)))]
    rows[0]["batch"] = "windows of a tick"
    for name, window in (("windows of 1 s", 1000 * MS), ("the whole drive", None)):
        batch = drive_batch(drive, kind, window)
        rows.append({"recording": drive.name, "batch": name, "push against batch": apart(answers, batch)})
    return rows


def drive_loss(bare: Drive, kind: str, losses: Sequence[float], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return the RMSE of the position at ticks by share of packets lost."""
    rows = list[dict[str, Any]]()
    for loss in losses:
        errors = list[float]()
        for seed in seeds:
            drive = fixes(bare, kind, seed)
            replay = drive_replay(drive, kind)._replace(lateness_ns=0, wait_ns=0)
            answers, _ = pushed(replay, lossy(replay.packets, loss, seed))
            stamps = np.array([answer.stamp_ns for answer in answers])
            gaps = np.stack([answer.outputs["position"] for answer in answers]) - drive.place(stamps)
            errors.append(float(np.sqrt(np.mean(np.square(gaps).sum(-1)))))
        rows.append({"recording": bare.name, "loss": loss, "RMSE m": float(np.mean(errors)),
                     "spread": float(np.std(errors)), "seeds": len(errors)})  # fmt: skip
        print(rows[-1], flush=True)
    return rows


# A table's worth of rows through a forecaster.


def forecast_replay(root: Path, rows: int) -> Replay:
    """Return the twist of the MCAP file to be pushed, and what a forecaster says over all rows at once."""
    from mambats.bundle.flat import FlatForecaster
    from mambats.bundle.rebuild import torch_engine
    from mambats.encoders import CausalEncoder
    from mambats.forecast import DirectHead, Forecaster
    from mambats.forecast.model import Rows
    from mambats.formats import read_bag
    from mambats.scale import RunningNorm, Scaler

    twist = read_bag(root / "io" / "nav2_turtlebot.mcap").streams["odom/twist"]
    stamps, values = twist.stamps[:rows], twist.values[:rows].astype(np.float32)
    period = int(np.median(np.diff(stamps)))
    torch.manual_seed(0)
    model = Forecaster(CausalEncoder(1, 16, 2), DirectHead(16, 8), RunningNorm(24, 24)).eval()
    facts = ForecastFacts(tuple(twist.channels), period, model.horizon)
    flat = FlatForecaster(model, Scaler(facts.channels), None, facts).eval().requires_grad_(False)
    gaps = np.concatenate([[1.0], np.diff(stamps) / period]).astype(np.float32)
    seen = Rows(torch.from_numpy(values)[None], torch.from_numpy(gaps)[None])
    with torch.no_grad():
        made = model.roll(seen, model.init_state(1, len(facts.channels)))[0][0].double().numpy()
    wanted = {int(stamp): {"forecast": one} for stamp, one in zip(stamps, made, strict=True)}
    packets = [Packet(SERIES, int(stamp), row) for stamp, row in zip(stamps, values, strict=True)]
    return Replay("mcap nav2_turtlebot, twist", torch_engine(flat), packets, wanted, 200 * MS)


def main(words: Sequence[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Read the command line."""
    parser = parser_of(__doc__ or "")
    parser.add_argument(
        "--parts", nargs="+", choices=("euroc", "mcap", "forecast"), default=["euroc", "mcap", "forecast"]
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of the drives (default 60)")
    parser.add_argument("--rows", type=int, default=2000, help="of the forecaster (default 2000)")
    given = parser.parse_args(words)
    root, equal, loss = settle(given), list[dict[str, Any]](), list[dict[str, Any]]()
    for kind, read in (("euroc", euroc_drive), ("mcap", mcap_drive)):
        if kind in given.parts:
            drive = read(root, given.seconds)
            equal += drive_equality(fixes(drive, kind, 0), kind)
            print(*equal[-3:], sep="\n", flush=True)
            loss += drive_loss(drive, kind, given.losses, range(given.seeds)) if kind == "euroc" else []
    if "forecast" in given.parts:
        equal.append(equality(forecast_replay(root, given.rows)))
        print(equal[-1], flush=True)
    found = {"equality": equal, "loss": loss}
    finish(given, found)
    if given.picture:
        names = sorted({row["recording"] for row in loss})
        draw({name: [r for r in loss if r["recording"] == name] for name in names}, "RMSE m", given.picture)
    return found


if __name__ == "__main__":
    main()
