"""`mambats doctor`: what is installed, what runs where, and whether it computes the same everywhere."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from mambats import __version__

#: Packages shown; those after the bar are optional.
CORE = ("torch", "numpy", "safetensors")
OPTIONAL = (
    "lightning",
    "torchmetrics",
    "polars",
    "scikit-learn",
    "jsonargparse",
    "mlflow",
    "matplotlib",
    "onnxruntime",
)
#: Largest difference relative to the largest value that float32 may show.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Check:
    """One self-test.

    Args:
        name: What was compared.
        error: Largest difference relative to the largest value.
        seconds: How long it took.
    """

    name: str
    error: float
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within float32."""
        return self.error <= TOLERANCE


def run(words: list[str], command: str) -> int:
    """Print the report; exit code 1 if a check fails."""
    argparse.ArgumentParser(prog="mambats doctor", description=__doc__).parse_args(words)
    print(f"mambats {__version__}, Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} CPUs")
    for name in (*CORE, *OPTIONAL):
        print(f"  {name:<14}{_version(name) or 'not installed'}")
    for line in devices():
        print(line)
    from mambats_kernels.backend import explain_backend

    print(explain_backend())
    print(f"one eager step of CausalEncoder(1, 64, 2), batch 1, one thread: {1e3 * step_seconds():.2f} ms (median)")
    checks = examine()
    for check in checks:
        verdict = "ok" if check.passed else f"WRONG (more than {TOLERANCE:.0e})"
        print(f"{check.name:<58} {check.error:.1e}  {check.seconds:5.2f} s  {verdict}")
    if all(check.passed for check in checks):
        print("all well")
        return 0
    print("something computes wrongly here: force the reference with MAMBATS_BACKEND=reference and report these lines.")
    return 1


def devices() -> list[str]:
    """Return a line a GPU, or one that says there is none."""
    import torch

    if not torch.cuda.is_available():
        return ["no CUDA device: everything runs on the CPU"]
    lines: list[str] = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        lines.append(f"cuda:{index} {facts.name}, {facts.total_memory / 2**30:.0f} GiB, sm_{facts.major}{facts.minor}")
    return lines


def step_seconds(steps: int = 200) -> float:
    """Return the median time of one step of a default encoder on the CPU, one series, one thread."""
    import torch

    from mambats.encoders import CausalEncoder

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoder, row, times = CausalEncoder(1, 64, 2).eval(), torch.randn(1, 1), list[float]()
        with torch.inference_mode():
            state = encoder.init_state(1)
            for _ in range(steps):
                start = time.perf_counter()
                _, state = encoder.step(row, state=state)
                times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(times)


def examine() -> list[Check]:
    """Compare, on each device, the chosen scan with the reference and the parallel encoder with its steps."""
    import torch

    places = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    checks: list[Check] = []
    for place in places:
        checks.append(
            _timed(f"selective scan on {place}: chosen back-end vs reference", lambda p=place: _scan_error(p))
        )
        checks.append(_timed(f"causal encoder on {place}: parallel vs step by step", lambda p=place: _step_error(p)))
    return checks


def _timed(name: str, measure: Callable[[], float]) -> Check:
    start = time.perf_counter()
    error = measure()
    return Check(name, error, time.perf_counter() - start)


def _scan_error(place: str) -> float:
    import torch

    from mambats_kernels import selective_scan
    from mambats_kernels.backend import use_backend

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(place)

    # Odd sizes: the last chunk is not full.
    x, dt, b, c = draw(2, 101, 12), draw(2, 101, 12), draw(2, 101, 5), draw(2, 101, 5)
    a, gaps = -draw(12, 5).exp(), draw(2, 101).abs()

    def scan() -> torch.Tensor:
        y, state = selective_scan(x, dt, a, b, c, dt_softplus=True, gaps=gaps)
        return torch.cat([y.flatten(), state.flatten().to(y.dtype)])

    found = scan()
    with use_backend("reference"):
        return relative_error(found, scan())


def _step_error(place: str) -> float:
    import torch

    from mambats.encoders import CausalEncoder

    torch.manual_seed(0)
    encoder = CausalEncoder(3, 16, 2).to(place).eval()
    x = torch.randn(2, 50, 3, device=place)
    with torch.no_grad():
        whole, _ = encoder(x)
        state, rows = encoder.init_state(2), []
        for t in range(50):
            row, state = encoder.step(x[:, t], state=state)
            rows.append(row)
    return relative_error(torch.stack(rows, 1), whole)


def relative_error(found: object, wanted: object) -> float:
    """Return the largest difference of two tensors relative to the largest value."""
    import torch

    if not isinstance(found, torch.Tensor) or not isinstance(wanted, torch.Tensor):
        raise TypeError("relative_error compares tensors.")
    return float((found.double() - wanted.double()).abs().max() / wanted.double().abs().max())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
