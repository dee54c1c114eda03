"""How near filters of nonlinear models come to a turning target, how sure they are, and how fast.

    python datasets/bench_turn.py        # three seeds, 100 runs of 40 s each; filterpy where it is installed

A target turns in the plane (position, velocity, turn rate; white acceleration of 0.3 m/s^1.5, turn rate walking by 0.01
rad/s^1.5). A sensor at the origin sees bearing (1 degree) and distance (2 m) once a second. The truth is drawn from the
models themselves, starts included, so that a consistent filter has a NEES of 1 a dimension. `wide` is the same with
a bearing of 10 degrees and a range of 20 m seen from amidst the field, where linear maps fail. All rows are online but
the smoothers', which are offline. Times are the process's own: of predict, update and, where there is one, the smoother
together, the runs of a seed side by side.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mambats.estimators import (
    BearingRange,
    BlockNoise,
    ConstantNoise,
    CoordinatedTurn,
    ExtendedKalmanFilter,
    NonlinearFilter,
    ParticleFilter,
    RandomWalk,
    UnscentedKalmanFilter,
    WhiteAcceleration,
    filter_window,
)
from mambats.gaussian import Gaussian
from mambats.protocols import Estimator
from mambats.series import SensorRows

RUNS, STEPS, INSIDE = 100, 40, 11.07  # INSIDE: 95 % of a chi-square number of 5 degrees of freedom
Models = dict[str, Any]


def models(wide: bool) -> Models:
    """Motion, sensor and start of one case."""
    motion = CoordinatedTurn(BlockNoise([WhiteAcceleration([0.3, 0.3]), RandomWalk([0.01])]))
    noise = ConstantNoise([math.radians(10 if wide else 1), 20.0 if wide else 2.0])
    start = ConstantNoise([20.0, 20.0, 2.0, 2.0, 0.05])
    mean = (60.0, 30.0, -8.0, 3.0, 0.1) if wide else (200.0, 100.0, -8.0, 3.0, 0.1)
    return {"motion": motion, "sensors": {"radar": BearingRange(noise)}, "start": start, "mean": mean}


def candidates(case: Models) -> dict[str, Estimator]:
    """The filters of a case, in float64."""
    made: dict[str, Estimator] = {
        "extended": ExtendedKalmanFilter(**case),
        "iterated extended (3)": ExtendedKalmanFilter(**case, iterations=3),
        "unscented": UnscentedKalmanFilter(**case),
        "particle, 1,000": ParticleFilter(**case, particles=1000),
        "particle, 4,000": ParticleFilter(**case, particles=4000),
    }
    return {name: one.double() for name, one in made.items()}


def drive(case: Models, seed: int) -> tuple[Tensor, Tensor]:
    """True states (RUNS, STEPS, 5) and measurements (RUNS, STEPS, 2), drawn from the models."""
    g, one = torch.Generator().manual_seed(seed), torch.ones(RUNS, dtype=torch.float64)
    motion, sensor, start = (model.double() for model in (case["motion"], case["sensors"]["radar"], case["start"]))

    def draw(covariance: Tensor) -> Tensor:
        root = torch.linalg.cholesky(covariance.double())
        return (root @ torch.randn(RUNS, root.shape[-1], 1, generator=g, dtype=torch.float64))[..., 0]

    x, states, values = torch.tensor(case["mean"], dtype=torch.float64) + draw(start(one)), [], []
    for _ in range(STEPS):
        x = motion(x, one) + draw(motion.noise(one))
        states.append(x)
        values.append(sensor(x) + draw(sensor.noise(one)))
    return torch.stack(states, 1), torch.stack(values, 1)


def judge(made: Gaussian, truth: Tensor) -> tuple[float, float, float, float]:
    """Position RMSE in m over all steps, its median over runs, NEES a dimension, share inside 95 %."""
    error = truth - made.mean
    square = error[..., :2].square().sum(-1)
    nees = (error.unsqueeze(-2) @ torch.linalg.solve(made.covariance, error.unsqueeze(-1)))[..., 0, 0]
    numbers = square.mean().sqrt(), square.mean(1).sqrt().median(), nees.mean() / 5, (nees < INSIDE).double().mean()
    rmse, median, ratio, inside = (number.item() for number in numbers)
    return rmse, median, ratio, inside


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work gives, and its seconds of this process."""
    begin = time.process_time()
    made = work()
    return made, time.process_time() - begin


def filtered(filter_: Any, values: Tensor) -> tuple[Gaussian, Gaussian | None]:
    """Filter all runs side by side; smooth where the filter can."""
    run = filter_window(filter_, *rows_of(values))
    smooth = filter_.smooth(run) if isinstance(filter_, NonlinearFilter) else None
    return Gaussian(run.mean, run.covariance), smooth


def rows_of(values: Tensor) -> tuple[dict[str, SensorRows], int]:
    """Measurements as a window."""
    stamps = (torch.arange(1, STEPS + 1) * 10**9).expand(len(values), -1)
    mask = torch.ones_like(stamps, dtype=torch.bool)
    return {"radar": SensorRows(values, mask, mask.float(), stamps)}, STEPS * 10**9


def filterpy(case: Models, values: Tensor) -> float | None:
    """Steps a second of filterpy's unscented filter on the first run, or None where it is not installed."""
    try:
        from filterpy.kalman import MerweScaledSigmaPoints, UnscentedKalmanFilter as Peer  # noqa: I001
    except ModuleNotFoundError:
        return None
    one = torch.ones(1, dtype=torch.float64)

    def move(x: Any, dt: float) -> Any:
        c, s = math.cos(x[4] * dt), math.sin(x[4] * dt)
        f, g = (s / x[4], (1 - c) / x[4]) if abs(x[4]) > 1e-9 else (dt, 0.0)
        moved = [x[0] + f * x[2] - g * x[3], x[1] + g * x[2] + f * x[3], c * x[2] - s * x[3], s * x[2] + c * x[3], x[4]]
        return torch.tensor(moved, dtype=torch.float64).numpy()

    def see(x: Any) -> Any:
        return torch.tensor([math.atan2(x[1], x[0]), math.hypot(x[0], x[1])], dtype=torch.float64).numpy()

    peer = Peer(5, 2, 1.0, see, move, MerweScaledSigmaPoints(5, 1.0, 2.0, 0.0))
    peer.x = torch.tensor(case["mean"], dtype=torch.float64).numpy()
    peer.P, peer.Q, peer.R = (
        noise(one)[0].detach().double().numpy()
        for noise in (case["start"], case["motion"].noise, case["sensors"]["radar"].noise)
    )

    def run() -> None:
        for value in values[0]:
            peer.predict()
            peer.update(value.numpy())

    return STEPS / timed(run)[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args(arguments).seeds
    torch.set_num_threads(1)
    for wide in (False, True):
        print(f"\n{'wide' if wide else 'classic'}, {seeds} seeds x {RUNS} runs x {STEPS} s, CPU, 1 thread, float64")
        print(f"{'':32}{'RMSE m':>9}{'median':>9}{'NEES/5':>9}{'in 95 %':>9}{'steps/s':>12}")
        with torch.no_grad():
            for name in candidates(models(wide)):
                measure(name, wide, seeds)
            peer = filterpy(models(wide), drive(models(wide), 0)[1])
        print(f"filterpy unscented, one at a time: {'not installed' if peer is None else f'{peer:,.0f} steps/s'}")


def measure(name: str, wide: bool, seeds: int) -> None:
    """Print the rows of a candidate: means over the seeds."""
    online, offline, speeds = list[tuple[float, ...]](), list[tuple[float, ...]](), list[float]()
    for seed in range(seeds):
        truth, values = drive(models(wide), seed)
        filter_ = candidates(models(wide))[name]
        (made, smooth), seconds = timed(lambda f=filter_, v=values: filtered(f, v))
        online.append(judge(made, truth))
        speeds.append(RUNS * STEPS / seconds)
        if smooth is not None:
            offline.append(judge(smooth, truth))
    for label, rows, speed in ((name, online, speeds), (f"{name}, smoothed", offline, [])):
        if rows:
            a, b, c, d = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
            rate = f"{sum(speed) / len(speed):12,.0f}" if speed else f"{'':>12}"
            print(f"{label:32}{a:9.2f}{b:9.2f}{c:9.2f}{100 * d:8.1f}%{rate}", flush=True)


if __name__ == "__main__":
    main()
