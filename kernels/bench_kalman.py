"""How many predicts and updates of a Kalman filter a second: 10 states, 7 measured, against filterpy and torch-kf.

    python kernels/bench_kalman.py                        # one CPU thread; rivals that are not installed are left out
    python kernels/bench_kalman.py --cuda --csv out.csv   # and the GPU at 65,536 filters

State and models are those of a tracker of boxes (position, heading, size, velocity). Everyone filters the same
measurements; in float64 results are compared first. Candidates take turns, round after round; a time is the median of
rounds, a ratio the median of the rounds' ratios. On the CPU it is the process's own time, for others may share the
machine; on the GPU it is the clock's. Ours is named by how it is called: `step` is `kalman_step` with all innovations,
`prepared` has its matrices bound, `running` keeps its state in place besides (as filterpy does), and `recording` is
handed all measurements at once (offline); ratios are to the fastest that takes them one by one.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats_kernels import kalman_step, native
from mambats_kernels.kalman import PreparedKalman, RunningKalman

STATES, MEASURED, STEP = 10, 7, 0.1
BATCHES = (1, 32, 256, 2048)
GPU_BATCH = 65_536
Step = Callable[[int], Any]  # runs so many steps; gives the mean of the first filter


class Problem(NamedTuple):
    """Models and measurements of one batch and dtype."""

    x: Tensor
    P: Tensor
    z: Tensor
    F: Tensor
    Q: Tensor
    H: Tensor
    R: Tensor


class Row(NamedTuple):
    device: str
    dtype: str
    batch: int
    candidate: str
    per_second: float
    microseconds: float
    ours_over_it: float  # of the faster of ours that take measurements one by one, in the same rounds


def problem(batch: int, dtype: torch.dtype, device: str = "cpu") -> Problem:
    random = torch.Generator().manual_seed(0)
    move = torch.eye(STATES)
    move[:3, 7:] = STEP * torch.eye(3)
    drive = 0.01 * torch.eye(STATES)
    seen, noise = torch.eye(MEASURED, STATES), 0.1 * torch.eye(MEASURED)
    covariance = torch.diag(torch.tensor([10.0] * MEASURED + [100.0] * 3)).expand(batch, -1, -1)
    z = torch.randn(batch, MEASURED, generator=random)
    made = (torch.zeros(batch, STATES), covariance, z, move, drive, seen, noise)
    return Problem(*(v.to(device, dtype).contiguous() for v in made))


def ours(given: Problem) -> dict[str, Step]:
    prepared = PreparedKalman(given.F, given.Q, given.H, given.R)

    def step(count: int) -> Tensor:
        x, P = given.x, given.P
        for _ in range(count):
            made = kalman_step(x, P, given.z, given.F, given.Q, given.H, given.R)
            x, P = made.mean, made.covariance
        return x[0]

    def bound(count: int) -> Tensor:
        x, P, z = given.x, given.P, given.z
        for _ in range(count):
            x, P = prepared(x, P, z)
        return x[0]

    def running(count: int) -> Tensor:
        filters, z = RunningKalman(prepared, given.x, given.P), given.z
        for _ in range(count):
            filters(z)
        return filters.mean[0]

    def recorded(count: int) -> Tensor:
        return prepared.record(given.x, given.P, given.z.expand(count, -1, -1))[0][-1, 0]

    record = {"mambats recording": recorded} if len(given.x) == 1 else {}  # memory for each step's result
    return {"mambats step": step, "mambats prepared": bound, "mambats running": running, **record}


def filterpy(given: Problem) -> Step | None:
    """Filterpy: float64, one filter at a time."""
    try:
        kalman = importlib.import_module("filterpy.kalman")
    except ImportError:
        return None
    numbers = [v.double().cpu().numpy() for v in (given.F, given.Q, given.H, given.R)]

    def step(count: int) -> Tensor:
        one = kalman.KalmanFilter(STATES, MEASURED)
        one.x, one.P = given.x[0].double().numpy(), given.P[0].double().numpy()
        one.F, one.Q, one.H, one.R = numbers
        z = given.z[0].double().numpy()
        for _ in range(count):
            one.predict()
            one.update(z)
        return torch.from_numpy(np.asarray(one.x))

    return step


def torch_kf(given: Problem) -> Step | None:
    try:
        found = importlib.import_module("torch_kf")
    except ImportError:
        return None
    model = found.KalmanFilter(given.F, given.H, given.Q, given.R)
    z = given.z[..., None]

    def step(count: int) -> Tensor:
        state = found.GaussianState(given.x[..., None], given.P)
        for _ in range(count):
            state = model.update(model.predict(state), z)
        return state.mean[0, :, 0]

    return step


def agree(candidates: dict[str, Step]) -> None:
    """Refuse to time what gives other numbers."""
    found = {name: step(50).double().cpu() for name, step in candidates.items()}
    wanted = found["mambats step"]
    for name, mean in found.items():
        torch.testing.assert_close(mean, wanted, rtol=1e-10, atol=1e-10, msg=f"{name} gives other numbers")


def measure(candidates: dict[str, Step], given: Problem, seconds: float) -> list[Row]:
    """Time candidates in turns."""
    synchronise = torch.cuda.synchronize if given.x.is_cuda else lambda: None
    clock = time.perf_counter if given.x.is_cuda else time.process_time
    counts, rounds = dict[str, int](), 9
    for name, step in candidates.items():
        step(2)
        synchronise()
        start = clock()
        step(3)
        synchronise()
        counts[name] = max(3, int(seconds / rounds / len(candidates) / (clock() - start) * 3))
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, step in candidates.items():
            start = clock()
            step(counts[name])
            synchronise()
            times[name].append((clock() - start) / counts[name])
    best = min(("mambats step", "mambats prepared", "mambats running"), key=lambda n: statistics.median(times[n]))
    rows = list[Row]()
    for name, found in times.items():
        done = 1 if name == "filterpy" else len(given.x)
        middle = statistics.median(found)
        ratio = statistics.median(
            len(given.x) / mine / (done / other) for mine, other in zip(times[best], found, strict=True)
        )
        rows.append(
            Row(str(given.x.device), str(given.x.dtype)[6:], len(given.x), name, done / middle, middle * 1e6, ratio)
        )
    return rows


def bench(batch: int, dtype: torch.dtype, device: str, seconds: float) -> list[Row]:
    given = problem(batch, dtype, device)
    candidates: dict[str, Step] = ours(given)
    rivals = {"torch-kf": torch_kf(given)} | ({"filterpy": filterpy(given)} if device == "cpu" else {})
    candidates |= {name: step for name, step in rivals.items() if step is not None}
    if dtype == torch.float64:
        agree(candidates)
    return measure(candidates, given, seconds)


def table(rows: list[Row]) -> str:
    lines = [
        "| device | dtype | filters | who | predict+update/s | us a call | ours is faster by |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "" if row.candidate.startswith("mambats") else f"{row.ours_over_it:.1f}"
        lines.append(
            f"| {row.device} | {row.dtype} | {row.batch:,} | {row.candidate} | {row.per_second:,.0f} | "
            f"{row.microseconds:,.1f} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", action="store_true", help=f"also on the GPU, {GPU_BATCH:,} filters")
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES, help="filters side by side on the CPU")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each batch and dtype")
    parser.add_argument("--csv", type=Path, help="where rows are written too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, one thread; {native.told()}")
    rows = list[Row]()
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            for batch in options.batches:
                rows += bench(batch, dtype, "cpu", options.seconds)
            if options.cuda:
                print(torch.cuda.get_device_name())
                rows += bench(GPU_BATCH, dtype, "cuda", options.seconds)
    print(table(rows))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([Row._fields, *rows])


if __name__ == "__main__":
    main()
