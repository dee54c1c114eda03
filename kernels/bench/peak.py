"""Peak memory of forward and backward on a CPU: resident memory above the inputs, a fresh process a back-end."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from mambats_kernels.backend import use_backend
from mambats_kernels.case import Case

CPU = torch.device("cpu")


def resident(kind: str) -> float:
    """MiB of this process: "VmRSS" now, "VmHWM" at most since it began."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def both(case: Case) -> float:
    """Run forward and backward of a case once; give MiB resident before, inputs there."""
    given = case.make(0, torch.float32, CPU)
    leaves = [v.requires_grad_() for v in given.values() if torch.is_tensor(v) and v.is_floating_point()]
    dy = torch.ones_like(given["x"].detach())
    before = resident("VmRSS")
    torch.autograd.grad(case.op(**given)[0], leaves, dy)
    return before


def measure(case: Case, small: Case, backend: str) -> float:
    """MiB that a case takes above its inputs, in this process; a small case has loaded the code before."""
    torch.set_num_threads(1)
    with use_backend(backend):
        both(small)
        before = both(case)
    return resident("VmHWM") - before


def peak(case: Case, small: Case, backend: str, runs: int = 3) -> float | None:
    """The same in processes of their own, the least of some runs; None where the system does not tell.

    The unbind loop took 428 MiB in some processes and 690 in others: its many tensors may land in half-empty pages.

    Raises:
        RuntimeError: If a process fails.
    """
    if not Path("/proc/self/status").is_file():
        return None
    code = (
        "from bench import cpu, peak; known = {case.name: case for case in (*cpu.BENCHES, *cpu.TINY)}; "
        f"print(peak.measure(known[{case.name!r}], known[{small.name!r}], {backend!r}))"
    )
    return min(_alone(code) for _ in range(runs))


def _alone(code: str) -> float:
    """What a fresh process prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    if told.returncode:
        raise RuntimeError(f"a process that measures memory failed: {told.stderr}")
    return float(told.stdout.splitlines()[-1])
