"""Run jobs one after another; what fails or is missing becomes a row that says so, and the run goes on."""

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from bench.job import Job
from bench.row import Book, Machine, Row
from bench.watch import Memory, Time, Watch
from bench.work import Floor, Work
from mambats_kernels.backend import chosen_backend, use_backend


def wait(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def first(call: Callable[[], tuple[Tensor, ...]], device: torch.device) -> float:
    """Milliseconds of the first call, kernels built or loaded; all that comes out must be finite."""
    begin = time.perf_counter()
    found = call()
    wait(device)
    spent = 1e3 * (time.perf_counter() - begin)
    wrong = [n for n, v in enumerate(found) if v.is_floating_point() and not v.isfinite().all()]
    if wrong:
        raise ArithmeticError(f"outputs or gradients {wrong} hold values that are not finite")
    return spent


def timed(
    job: Job, who: str, step: str, call: Callable[[], tuple[Tensor, ...]], watch: Watch, machine: Machine,
    device: torch.device,
) -> Row:  # fmt: skip
    """Time one pass."""
    begun = first(call, device)
    ran = watch.device(call) if job.graph else replace(watch.eager(call), note="eager: it replays a graph itself")
    slow = ran.ms > 20  # nothing of the host is seen behind it
    eager, host = (None, None) if slow else (watch.eager(call), watch.host(call))
    by_bytes, by_exps = job.floors.get(step, Floor(0)).times(machine.copy_tb_s, machine.exp2_t_s)
    return Row(
        section=job.section,
        case=job.case,
        dtype=str(job.dtype)[6:],
        who=who,
        step=step,
        device_ms=ran.ms,
        eager_ms=_ms(eager),
        host_ms=_ms(host),
        bytes_ms=by_bytes or None,
        arithmetic_ms=by_exps,
        first_ms=begun,
        replays=ran.replays,
        note=ran.note,
    )


def _ms(found: Time | None) -> float | None:
    return None if found is None else found.ms


def with_memory(row: Row, memory: Memory | None) -> Row:
    """Write what a pass holds into its row."""
    if memory is None:
        return row
    return replace(row, held_mib=memory.held, saved_mib=memory.saved, peak_mib=memory.peak)


def measure(job: Job, watch: Watch, machine: Machine, device: torch.device) -> Iterable[Row]:
    """Time every pass of a job."""
    with use_backend(job.backend) if job.backend else nullcontext():
        ours = chosen_backend(job.family, device, job.dtype) if job.family else ""
        who = ", ".join(part for part in (ours, job.who) if part)
        work: Work = job.make()
        yield timed(job, who, "fwd", work.ahead, watch, machine, device)
        if work.leaves:
            row = timed(job, who, "fwd+bwd", work.both, watch, machine, device)
            yield with_memory(row, watch.memory(work))


def tell(row: Row) -> str:
    """One line for the terminal."""
    head = f"{row.section:13} {row.case:46} {row.dtype:8} {row.who:22} {row.step:8}"
    if row.device_ms is None:
        return f"{head} {row.note}"
    floor = max(row.bytes_ms or 0.0, row.arithmetic_ms or 0.0)
    parts = [f"device {row.device_ms:9.4f}"]
    parts += [f"eager {row.eager_ms:9.4f}" if row.eager_ms is not None else ""]
    parts += [f"host {row.host_ms:7.4f} ms" if row.host_ms is not None else "ms"]
    parts += [f"{row.device_ms / floor:6.1f} x floor" if floor else ""]
    parts += [f"saved {row.saved_mib:.1f} peak {row.peak_mib:.1f} MiB" if row.peak_mib is not None else ""]
    return " ".join([head, *(part for part in parts if part), row.note])


def run(jobs: Iterable[Job], book: Book, watch: Watch, device: torch.device, seconds: float) -> None:
    """Run jobs until the time is up; later ones are named as skipped.

    Raises:
        RuntimeError: If the device is broken and nothing more can run; the rows up to there are kept.
    """
    end = time.monotonic() + seconds
    for job in jobs:
        named = job.who or job.backend or job.family
        missing = job.missing or ("the time is up" if time.monotonic() > end else "")
        empty = Row(job.section, job.case, str(job.dtype)[6:], named, "fwd", note=f"skipped: {missing}")
        if missing:
            book.add([empty])
            print(tell(empty), flush=True)
            continue
        try:
            for row in measure(job, watch, book.machine, device):
                book.add([row])
                print(tell(row), flush=True)
        except Exception as error:  # the other jobs still count
            why = f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            failed = replace(empty, note=why)
            book.add([failed])
            print(tell(failed), flush=True)
            wait(device)  # raises if the device is broken
        if device.type == "cuda":
            torch.cuda.empty_cache()
