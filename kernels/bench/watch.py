"""Stop watches: how long a call takes a GPU or a CPU, and how much memory it holds."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bench.work import Work

Call = Callable[[], tuple[Tensor, ...]]
MIB = 2.0**20


@dataclass(frozen=True)
class Time:
    """Milliseconds of one kind of timing, over how many calls, and what is odd about it."""

    ms: float
    replays: int
    note: str = ""


@dataclass(frozen=True)
class Memory:
    """MiB above the inputs: held after forward, held without the outputs, most of forward and backward."""

    held: float
    saved: float
    peak: float


class Watch(Protocol):
    """Times calls that are warm."""

    def device(self, call: Call) -> Time:
        """What the device needs, without waiting for the host."""
        ...

    def eager(self, call: Call) -> Time:
        """What an eager user waits for."""
        ...

    def host(self, call: Call) -> Time:
        """What a call costs the host, results not awaited."""
        ...

    def memory(self, work: Work) -> Memory | None:
        """What a pass holds above its inputs; None where that is not counted."""
        ...


class CpuWatch:
    """Wall time; processor time with one thread, which a busy neighbour hardly moves.

    Args:
        rounds: Timed calls; the median counts.
    """

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds

    def eager(self, call: Call) -> Time:
        """Median over calls."""
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        found: list[float] = []
        for _ in range(self._rounds):
            begin = clock()
            call()
            found.append(1e3 * (clock() - begin))
        return Time(statistics.median(found), self._rounds)

    def device(self, call: Call) -> Time:
        """The device is the host."""
        return self.eager(call)

    def host(self, call: Call) -> Time:
        """The host is the device."""
        return self.eager(call)

    def memory(self, work: Work) -> Memory | None:
        """Not counted."""
        return None


class GpuWatch:
    """CUDA events and graph replays; the second cache is flushed before every timed call, outside the events.

    Args:
        device: The GPU.
        seconds: Device time to spend on one median.
        fewest: Replays at least; calls above 50 ms are repeated 5 times only.
    """

    def __init__(self, device: torch.device, seconds: float = 0.15, fewest: int = 20) -> None:
        self._device = device
        self._seconds = seconds
        self._fewest = fewest
        # Five times the second cache of an H100 (50 MB); the write takes about 0.09 ms, which hides as much host time
        # from `eager`: the published figures were taken the same way, so both are equally kind.
        self._flush = torch.empty(256 * 2**20, dtype=torch.int8, device=device)

    def device(self, call: Call) -> Time:
        """Median over replays of one captured call; between events around eager calls where it cannot be captured."""
        try:
            graph, kept = self._capture(call)
        except RuntimeError as error:
            torch.cuda.synchronize(self._device)  # raises where the device itself is broken
            found = self.eager(call)
            return Time(found.ms, found.replays, f"eager, not captured: {str(error).splitlines()[0]}")
        found = self._median(graph.replay)
        if not all(v.isfinite().all() for v in kept if v.is_floating_point()):
            raise ArithmeticError("the replayed graph gives values that are not finite")
        return found

    def eager(self, call: Call) -> Time:
        """Median between events around eager calls."""
        return self._median(call)

    def host(self, call: Call) -> Time:
        """Wall time a call in a loop that waits for nothing; short enough that the queue of launches never fills."""
        guess = self._wall(call, 1)
        calls, rounds = max(1, min(10, int(0.02 / guess))), 7 if guess < 0.01 else 3
        found = [1e3 * self._wall(call, calls) for _ in range(rounds)]
        torch.cuda.synchronize(self._device)
        return Time(statistics.median(found), calls * rounds)

    def memory(self, work: Work) -> Memory | None:
        """Count allocated bytes around forward, and the peak of forward and backward."""
        torch.cuda.synchronize(self._device)
        before = torch.cuda.memory_allocated(self._device)
        with torch.enable_grad():
            outputs = work.forward()
        held = torch.cuda.memory_allocated(self._device) - before
        saved = held - sum(v.numel() * v.itemsize for v in outputs)
        del outputs
        torch.cuda.reset_peak_memory_stats(self._device)
        work.both()
        peak = torch.cuda.max_memory_allocated(self._device) - before
        return Memory(held / MIB, saved / MIB, peak / MIB)

    def _wall(self, call: Call, calls: int) -> float:
        """Seconds a call, results not awaited."""
        torch.cuda.synchronize(self._device)
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - begin) / calls

    def _capture(self, call: Call) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
        """Warm up on a side stream, as capture asks for, and capture one call."""
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(2):
                call()
        torch.cuda.current_stream(self._device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = call()
        return graph, kept

    def _once(self, call: Callable[[], object]) -> tuple[torch.cuda.Event, torch.cuda.Event]:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self._flush.zero_()
        begin.record()
        call()
        end.record()
        return begin, end

    def _median(self, call: Callable[[], object]) -> Time:
        """Median milliseconds over as many calls as the time allows, at least `fewest`."""
        first = [self._once(call) for _ in range(3)]
        torch.cuda.synchronize(self._device)
        guess = min(begin.elapsed_time(end) for begin, end in first)
        replays = 5 if guess > 50 else int(min(100, max(self._fewest, 1e3 * self._seconds / (guess + 0.1))))
        found = [self._once(call) for _ in range(replays)]
        torch.cuda.synchronize(self._device)
        return Time(statistics.median(begin.elapsed_time(end) for begin, end in found), replays)
