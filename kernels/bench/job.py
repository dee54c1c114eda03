"""Jobs: what is timed on a GPU, ours and the rivals', each made only when its turn comes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import mambats_kernels
from bench.work import Floors, Work, attention_floors, conv_floors, scan_floors, step_floors
from mambats_kernels import causal_conv, selective_scan, selective_step
from mambats_kernels.backend import BACKENDS, obstacle
from mambats_kernels.causal_conv import cases as conv_cases
from mambats_kernels.selective_scan import cases as scan_cases

Shape = tuple[int, int, int, int]
BF16, FP32 = torch.bfloat16, torch.float32
# Of our own forms at small shapes: the torch back-end was the only one on a GPU before, the loop is the equation.
SMALL = ((256, 96, 128, 16), (64, 512, 256, 16))

# The step may have back-ends of its own.
STEP = "selective_step" if "selective_step" in BACKENDS else "selective_scan"


@dataclass(frozen=True)
class Job:
    """One implementation on one case.

    Attributes:
        section: Where its rows belong, see `bench.row.Row`.
        case: Name of the case.
        family: Of kernels, for the choice of the back-end; "" for a rival.
        dtype: Of the sequences.
        make: Makes the inputs and binds them.
        floors: By pass.
        who: Name of the rival, or what to add to the back-end's name.
        backend: Forced; None takes the default.
        missing: Why it cannot run; "" if it can.
        graph: Whether it can be captured; a replay of a graph cannot.
    """

    section: str
    case: str
    family: str
    dtype: torch.dtype
    make: Callable[[], Work]
    floors: Floors
    who: str = ""
    backend: str | None = None
    missing: str = ""
    graph: bool = True


def name(family: str, shape: tuple[int, ...], letters: str, extras: tuple[str, ...] = ()) -> str:
    """Name a case: `selective_scan/B8_T2048_D1536_N16+gaps`."""
    sizes = "_".join(f"{letter}{size}" for letter, size in zip(letters, shape, strict=True))
    return "+".join([f"{family}/{sizes}", *extras])


def bind(given: dict[str, Any], op: Callable[..., tuple[Tensor, ...]]) -> Work:
    """Bind arguments; gradients are taken for all floating ones but gaps, which are data."""
    leaves = [v for n, v in given.items() if torch.is_tensor(v) and v.is_floating_point() and n != "gaps"]
    for leaf in leaves:
        leaf.requires_grad_()
    return Work(partial(op, **given), tuple(leaves), torch.randn_like(given["x"].detach()))


def both_ways(**given: Any) -> tuple[Tensor, ...]:
    """Scan forwards and backwards by two calls."""
    return (selective_scan(**given)[0] + selective_scan(**given, reverse=True)[0],)


def one_call(**given: Any) -> tuple[Tensor, ...]:
    """The same by one call."""
    return (mambats_kernels.bidirectional_scan(**given),)


def scan_job(
    section: str, shape: Shape, dtype: torch.dtype, device: torch.device, backend: str | None = None,
    extras: tuple[str, ...] = (),
) -> Job:  # fmt: skip
    """The scan by a back-end, with extras."""
    hindrance = ""
    if backend is not None:
        known = backend in BACKENDS["selective_scan"]
        hindrance = (obstacle(backend, device) or "") if known else f"there is no back-end {backend}"
    return Job(
        section,
        name("selective_scan", shape, "BTDN", extras),
        "selective_scan",
        dtype,
        lambda: bind(scan_cases.timed(0, dtype, device, shape=shape, extras=extras), selective_scan),
        scan_floors(shape, dtype.itemsize),
        backend=backend,
        missing=hindrance,
    )


def both_ways_jobs(shape: Shape, device: torch.device) -> Iterator[Job]:
    """Both directions in one call and in two."""
    case, floors = name("selective_scan", shape, "BTDN"), scan_floors(shape, 2, directions=2)
    for who, run in (("one call", one_call), ("two calls", both_ways)):

        def make(run: Any = run) -> Work:
            return bind(scan_cases.timed(0, BF16, device, shape=shape), run)

        yield Job("bidirectional", case, "selective_scan", BF16, make, floors, who=who)


def conv_job(shape: Shape, device: torch.device) -> Job:
    """Convolution and SiLU."""
    case = name("causal_conv", shape, "BTDW")
    floors = conv_floors(shape, 2)
    return Job(
        "conv", case, "causal_conv", BF16,
        lambda: bind(conv_cases.timed(0, BF16, device, shape=shape), causal_conv), floors,
    )  # fmt: skip


def step_inputs(batch: int, width: int, size: int, device: torch.device) -> dict[str, Tensor]:
    """Inputs of one token: (B, D) and (B, N) in bfloat16, the state (B, D, N) and the parameters in float32."""
    x, dt, z = torch.randn(3, batch, width, device=device, dtype=BF16)
    b, c = torch.randn(2, batch, size, device=device, dtype=BF16)
    d, bias = torch.randn(2, width, device=device)
    a = -torch.arange(1, size + 1, device=device, dtype=FP32).repeat(width, 1)
    state = torch.randn(batch, width, size, device=device)
    return {"x": x, "dt": dt, "A": a, "B": b, "C": c, "D": d, "z": z, "dt_bias": bias, "state": state}


def step_job(batch: int, width: int, size: int, device: torch.device) -> Job:
    """One token of the scan, without gradients."""

    def make() -> Work:
        v = step_inputs(batch, width, size, device)
        call = partial(
            selective_step, v["x"], v["dt"], v["A"], v["B"], v["C"], state=v["state"], D=v["D"], z_t=v["z"],
            dt_bias=v["dt_bias"], dt_softplus=True,
        )  # fmt: skip
        return Work(call)

    case = name("selective_step", (batch, width, size), "BDN")
    return Job("step", case, STEP, BF16, make, step_floors(batch, width, size, 2))


def attention_job(shape: Shape, device: torch.device) -> Job:
    """Causal flash attention of heads of 64 over the same batch, tokens and width."""
    batch, tokens, width, _ = shape
    heads = max(1, width // 64)

    def make() -> Work:
        sizes = (batch, heads, tokens, width // heads)
        q, k, v = (torch.randn(sizes, device=device, dtype=BF16).requires_grad_() for _ in range(3))

        def run() -> tuple[Tensor, ...]:
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                return (F.scaled_dot_product_attention(q, k, v, is_causal=True),)

        return Work(run, (q, k, v), torch.randn(sizes, device=device, dtype=BF16))

    case = name("selective_scan", shape, "BTDN")
    return Job("attention", case, "", BF16, make, attention_floors(batch, tokens, width, 2), who="torch SDPA flash")
