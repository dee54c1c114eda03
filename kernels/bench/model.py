"""Whole models before and after: training samples and streamed steps a second on torch operations and on the default.

Needs the package mambats: put the root of the repository on PYTHONPATH.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles

import torch
from torch import Tensor, nn

from bench import cpu
from bench.gpu import wait
from bench.row import Book, Row
from mambats_kernels.backend import chosen_backend, use_backend


@dataclass(frozen=True)
class Size:
    """A model and a batch: B series of T rows, width, layers; 8 channels, state 16."""

    batch: int
    tokens: int
    width: int
    layers: int

    def __str__(self) -> str:
        """As in the names of cases."""
        return f"B{self.batch}_T{self.tokens}_w{self.width}_L{self.layers}"


CHANNELS = 8
GPU_SIZES = (Size(64, 512, 128, 4), Size(8, 2048, 256, 4))
# A core does in seconds what a GPU does in milliseconds.
CPU_SIZES = (Size(16, 512, 64, 4),)
TINY_SIZES = (Size(2, 16, 8, 1),)


def encoder(kind: str, size: Size, device: torch.device) -> nn.Module:
    """A causal or bidirectional encoder with the published mixer.

    Raises:
        ModuleNotFoundError: If mambats is not on the path.
    """
    from mambats.encoders import BidirectionalEncoder, CausalEncoder

    made = {"causal": CausalEncoder, "bidirectional": BidirectionalEncoder}[kind]
    torch.manual_seed(0)
    return made(CHANNELS, size.width, size.layers).to(device)


def training(kind: str, size: Size, device: torch.device, autocast: bool) -> Callable[[], Tensor]:
    """One optimiser step on random rows: forward, mean square, backward, AdamW."""
    model = encoder(kind, size, device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    rows = torch.randn(size.batch, size.tokens, CHANNELS, device=device)
    target = torch.randn(size.batch, size.tokens, size.width, device=device)

    def step() -> Tensor:
        optimiser.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = (model(rows)[0].float() - target).square().mean()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def streaming(batch: int, size: Size, device: torch.device) -> Callable[[], Tensor]:
    """One row of each of `batch` series through a causal encoder, the state carried."""
    model = encoder("causal", size, device).eval()
    rows = torch.randn(batch, CHANNELS, device=device)
    state = [model.init_state(batch)]  # type: ignore[operator]

    def step() -> Tensor:
        with torch.inference_mode():
            y, state[0] = model.step(rows, state=state[0])  # type: ignore[operator]
        return y

    return step


def replaying(batch: int, size: Size, device: torch.device) -> Callable[[], Tensor]:
    """The same by a recorded graph, answers overwritten by the next step."""
    from mambats.encoders import CapturedStep, CausalEncoder

    torch.manual_seed(0)
    step = CapturedStep(CausalEncoder(CHANNELS, size.width, size.layers).to(device).eval(), batch, keep=False)
    rows, state = torch.randn(batch, CHANNELS, device=device), [step.init_state()]

    def advance() -> Tensor:
        y, state[0] = step.step(rows, state=state[0])
        return y

    return advance


def alternate(
    calls: dict[str, Callable[[], Tensor]], backends: dict[str, str | None], device: torch.device, seconds: float
) -> dict[str, float]:
    """Median milliseconds a call by name: all take turns, each turn as many calls as last a tenth of the time."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    many = {name: 1 for name in calls}
    now = cpu.seconds if device.type == "cpu" else time.perf_counter
    for turn in range(7):
        for name, call in calls.items():
            with use_backend(backends[name]):
                wait(device)
                begin = now()
                value = call()
                for _ in range(many[name] - 1):
                    value = call()
                wait(device)
                spent = (now() - begin) / many[name]
                if not value.isfinite().all():
                    raise ArithmeticError(f"{name} gives values that are not finite")
            if turn == 1:  # the first turn builds and warms
                many[name] = max(1, int(0.1 * seconds / spent))
            elif turn > 1:
                found[name].append(1e3 * spent)
    return {name: median(values) for name, values in found.items()}


def jitter(call: Callable[[], Tensor], seconds: float) -> str:
    """Say p50 and p99 of a call on the CPU, of the quietest of five windows: a neighbour spoils the others."""
    windows: list[tuple[float, float]] = []
    for _ in range(5):
        found: list[float] = []
        end = time.perf_counter() + seconds / 5
        while len(found) < 20 or (len(found) < 2000 and time.perf_counter() < end):
            begin = cpu.seconds()
            call()
            found.append(1e3 * (cpu.seconds() - begin))
        cuts = quantiles(found, n=100)
        windows.append((cuts[98] / cuts[49], cuts[49]))
    ratio, middle = min(windows)
    kind = ", processor time" if torch.get_num_threads() == 1 else ""
    return f"p50 {middle:.4f} ms, p99 {ratio:.2f} times that, in the best of five windows{kind}"


def keep(
    book: Book, case: str, dtype: str, step: str, batch: int, device: torch.device, seconds: float,
    makes: dict[str, Callable[[], Callable[[], Tensor]]],
) -> None:  # fmt: skip
    """Time one kind of call in several forms, "torch" on torch operations, taking turns; print and keep."""
    backends = {name: "torch" if name == "torch" else None for name in makes}
    calls = {name: make() for name, make in makes.items()}
    times = alternate(calls, backends, device, seconds)
    for name, ms in times.items():
        note = ""
        if step == "step" and device.type == "cpu":
            with use_backend(backends[name]):
                note = jitter(calls[name], seconds)
        row = Row("model", case, dtype, name, step, eager_ms=ms, replays=5, rate=1e3 * batch / ms, note=note)
        book.add([row])
        told = f"{ms:10.3f} ms {row.rate:12.1f} / s {times['torch'] / ms:6.2f}x {note}"
        print(f"{case:36} {dtype:9} {step:8} {name:14} {told}", flush=True)


def run(book: Book, device: torch.device, wanted: Callable[[str], bool], seconds: float, tiny: bool) -> None:
    """Train and stream both encoders at each size."""
    sizes = TINY_SIZES if tiny else GPU_SIZES if device.type == "cuda" else CPU_SIZES
    default = chosen_backend("selective_scan", device, torch.float32)
    for size in sizes:
        for kind in ("causal", "bidirectional"):
            for autocast in (False, True) if device.type == "cuda" else (False,):
                case, dtype = f"{kind}/{size}", "bfloat16" if autocast else "float32"
                if wanted(case):
                    make = partial(training, kind, size, device, autocast)
                    keep(book, case, dtype, "training", size.batch, device, seconds, {"torch": make, default: make})
    for batch in (1, 64):
        case = f"streaming/B{batch}_w{sizes[0].width}_L{sizes[0].layers}"
        if wanted(case):
            make = partial(streaming, batch, sizes[0], device)
            makes: dict[str, Callable[[], Callable[[], Tensor]]] = {"torch": make, default: make}
            if device.type == "cuda":
                makes["captured"] = partial(replaying, batch, sizes[0], device)
            keep(book, case, "float32", "step", batch, device, seconds, makes)
