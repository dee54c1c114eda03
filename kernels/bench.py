"""Time every family's benchmark cases: each back-end against the unbind loop, in one run.

    PYTHONPATH=kernels python kernels/bench.py --cpu --threads 1 --csv bench.csv

A call's cost is the median over rounds in which the back-ends take turns, so that a busy neighbour meets all alike.
With one CPU thread it is processor time, which a neighbour hardly moves; else wall time, on a GPU after synchronising.
"""

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mambats_kernels import selective_step
from mambats_kernels.backend import BACKENDS, explain_backend, obstacle, use_backend
from mambats_kernels.case import Arguments, Case
from mambats_kernels.causal_conv import cases as conv_cases
from mambats_kernels.selective_scan import cases as scan_cases

CASES = [*scan_cases.BENCHES, *conv_cases.BENCHES]
FIELDS = ["device", "torch", "threads", "case", "dtype", "backend", "pass", "ms", "ratio"]


def machine(device: torch.device) -> str:
    """Name the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def clock(device: torch.device) -> float:
    """Seconds: of the processor on one thread, else of the wall."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.process_time() if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter()


def call(case: Case, arguments: Arguments, leaves: Arguments, weights: list[Tensor], backward: bool) -> list[Tensor]:
    """Run a case once, with all gradients if asked; give its outputs."""
    with torch.set_grad_enabled(backward):
        y, final = case.op(**{**arguments, **leaves})
        if backward:
            torch.autograd.grad([y, final], list(leaves.values()), weights)
    return [y, final]


def time_case(case: Case, device: torch.device, dtype: torch.dtype, rounds: int) -> dict[tuple[str, str], float]:
    """Give milliseconds by (back-end, pass)."""
    arguments = case.make(0, dtype, device)
    leaves = {n: v.requires_grad_() for n, v in arguments.items() if torch.is_tensor(v) and v.is_floating_point()}
    weights = [torch.randn_like(v) for v in call(case, arguments, leaves, [], False)]
    passes = ("forward", "forward+backward")
    seconds: dict[tuple[str, str], list[float]] = {
        (name, step): [] for name in BACKENDS[case.family] if obstacle(name, device) is None for step in passes
    }
    for turn in range(rounds + 1):
        for (backend, step), found in seconds.items():
            with use_backend(backend):
                begin = clock(device)
                call(case, arguments, leaves, weights, step != "forward")
                spent = clock(device) - begin
            if turn:  # the first round warms up
                found.append(spent)
    return {key: 1e3 * statistics.median(found) for key, found in seconds.items()}


def time_step(device: torch.device, rounds: int = 2000) -> float:
    """Give milliseconds of one eager step: batch 1, D = 128, N = 16, without gradients."""
    x, b = torch.randn(1, 128, device=device), torch.randn(1, 16, device=device)
    a, state, gap = -torch.rand(128, 16, device=device), torch.zeros(1, 128, 16, device=device), x.new_ones(1)
    found: list[float] = []
    with torch.inference_mode():
        for _ in range(rounds):
            begin = clock(device)
            _, state = selective_step(x, x, a, b, b, state=state, D=x[0], z_t=x, dt_softplus=True, gap_t=gap)
            found.append(clock(device) - begin)
    return 1e3 * statistics.median(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, time, print, write."""
    parser = argparse.ArgumentParser(description="Time the kernels' benchmark cases against the unbind loop.")
    parser.add_argument("--cpu", action="store_true", help="time on the CPU even where there is a GPU")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of each kind; the median counts")
    parser.add_argument("--only", default="", help="time only cases whose name holds this")
    parser.add_argument("--bf16", action="store_true", help="give sequences in bfloat16 instead of float32")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    device = torch.device("cpu" if given.cpu or not torch.cuda.is_available() else "cuda")
    dtype = torch.bfloat16 if given.bf16 else torch.float32
    head = {"device": machine(device), "torch": torch.__version__, "threads": given.threads}
    print(f"{head['device']}, {given.threads} thread(s), python {platform.python_version()}\n{explain_backend()}\n")
    rows: list[dict[str, object]] = []
    for case in (case for case in CASES if given.only in case.name):
        found = time_case(case, device, dtype, given.rounds)
        for (backend, step), spent in found.items():
            ratio = found["reference", step] / spent
            row = {"case": case.name, "dtype": str(dtype)[6:], "backend": backend, "pass": step}
            rows.append({**head, **row, "ms": f"{spent:.3f}", "ratio": f"{ratio:.2f}"})
            print(f"{case.name:40} {backend:10} {step:17} {spent:10.2f} ms  {ratio:6.2f} x unbind loop", flush=True)
    step = time_step(device)
    print(f"{'selective_step, B = 1, D = 128, N = 16':40} {'eager':10} {'step':17} {step:10.4f} ms")
    rows.append(
        {**head, "case": "selective_step/B1_D128_N16", "dtype": "float32", "backend": "eager", "ms": f"{step:.4f}"}
    )
    if given.csv:
        with given.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
