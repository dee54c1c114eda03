"""Time every family's cases on a CPU: back-ends take turns, so that a busy neighbour meets all alike.

A cost is the median over rounds: processor time with one thread, which a neighbour hardly moves, else wall time.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.peak import peak
from bench.row import Book, Row
from mambats_kernels import selective_step
from mambats_kernels.backend import BACKENDS, obstacle, use_backend
from mambats_kernels.case import Arguments, Case
from mambats_kernels.causal_conv import cases as conv_cases
from mambats_kernels.selective_scan import cases as scan_cases

BENCHES: list[Case] = [*scan_cases.BENCHES, *conv_cases.BENCHES]
# The smallest that has every option, to try the benchmark itself.
TINY: list[Case] = [case for case in (*scan_cases.CASES, *conv_cases.CASES) if case.name.endswith("/full")]
# Whose memory is measured too, in processes of their own.
WEIGHED = {"selective_scan/B32_T512_D128_N16", "selective_scan/B4_T8192_D128_N16"}
CPU = torch.device("cpu")


def seconds() -> float:
    """Of the processor on one thread, else of the wall."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def call(case: Case, arguments: Arguments, leaves: Arguments, weights: list[Tensor], backward: bool) -> list[Tensor]:
    """Run a case once, with all gradients if asked; give its outputs."""
    with torch.set_grad_enabled(backward):
        y, final = case.op(**{**arguments, **leaves})
        if backward:
            torch.autograd.grad([y, final], list(leaves.values()), weights)
    return [y, final]


def time_case(case: Case, dtype: torch.dtype, rounds: int, names: Sequence[str]) -> dict[tuple[str, str], float]:
    """Give milliseconds by (back-end, pass)."""
    arguments = case.make(0, dtype, CPU)
    leaves = {n: v.requires_grad_() for n, v in arguments.items() if torch.is_tensor(v) and v.is_floating_point()}
    weights = [torch.randn_like(v) for v in call(case, arguments, leaves, [], False)]
    found: dict[tuple[str, str], list[float]] = {(name, step): [] for name in names for step in ("fwd", "fwd+bwd")}
    for turn in range(rounds + 1):
        for (backend, step), spent in found.items():
            with use_backend(backend):
                begin = seconds()
                call(case, arguments, leaves, weights, step != "fwd")
                end = seconds()
            if turn:  # the first round warms up
                spent.append(1e3 * (end - begin))
    return {key: statistics.median(spent) for key, spent in found.items()}


def time_step(rounds: int) -> float:
    """Milliseconds of one eager step: batch 1, D = 128, N = 16, with D, z and gap, without gradients."""
    x, b = torch.randn(1, 128), torch.randn(1, 16)
    a, state, gap = -torch.rand(128, 16), torch.zeros(1, 128, 16), x.new_ones(1)
    found: list[float] = []
    with torch.inference_mode():
        for _ in range(rounds):
            begin = seconds()
            _, state = selective_step(x, x, a, b, b, state=state, D=x[0], z_t=x, dt_softplus=True, gap_t=gap)
            found.append(1e3 * (seconds() - begin))
    return statistics.median(found)


def small_of(case: Case) -> Case:
    """A small case of the same family."""
    return next(small for small in TINY if small.family == case.family)


def able(family: str, forced: str | None) -> list[str]:
    """The back-ends to time: all that can, or the forced one beside the loop."""
    names = [name for name in BACKENDS[family] if obstacle(name, CPU) is None]
    return [name for name in names if forced is None or name in (forced, "reference")]


def run(
    book: Book, dtype: torch.dtype, rounds: int, wanted: Callable[[str], bool], forced: str | None, tiny: bool
) -> None:
    """Time, print and keep; weigh the cases whose memory was promised."""
    weighed = set[str]() if tiny else WEIGHED
    for case in (case for case in (TINY if tiny else BENCHES) if wanted(case.name)):
        found = time_case(case, dtype, rounds, able(case.family, forced))
        for (backend, step), spent in found.items():
            most = peak(case, small_of(case), backend) if step == "fwd+bwd" and case.name in weighed else None
            row = Row("cpu", case.name, str(dtype)[6:], backend, step, device_ms=spent, peak_mib=most, replays=rounds)
            book.add([row])
            told = f"{spent:10.2f} ms  {found['reference', step] / spent:6.2f} x unbind loop"
            told += "" if most is None else f"  {most:.0f} MiB above the inputs"
            print(f"{case.name:40} {backend:10} {step:8} {told}", flush=True)
    if wanted("selective_step/B1_D128_N16"):
        rounds = 20 if tiny else 2000
        spent = time_step(rounds)
        row = Row("cpu", "selective_step/B1_D128_N16", "float32", "default", "fwd", device_ms=spent, replays=rounds)
        book.add([row])
        print(f"{row.case:40} {row.who:10} {row.step:8} {spent:10.4f} ms", flush=True)
