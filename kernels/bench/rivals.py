"""The rivals, where they can be imported: the same mathematics on the same numbers, in the layout that each likes."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.job import BF16, FP32, Job, Shape, name, step_inputs
from bench.work import Work, conv_floors, scan_floors, step_floors
from mambats_kernels.causal_conv import cases as conv_cases
from mambats_kernels.selective_scan import cases as scan_cases

Given = dict[str, Any]


def find(module: str, attribute: str) -> tuple[Callable[..., Any] | None, str]:
    """Import a rival's function; else say why not."""
    try:
        return getattr(import_module(module), attribute), ""
    except Exception as error:  # a rival's import may fail in any way
        return None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else module}"


def channels_first(given: Given, keys: tuple[str, ...]) -> Given:
    """Lay (B, T, ...) out as (B, ..., T), contiguous."""
    return {k: v.mT.contiguous() if k in keys else v for k, v in given.items()}


def leaves_of(given: Given) -> tuple[Tensor, ...]:
    """Ask for gradients of every floating tensor."""
    return tuple(v.requires_grad_() for v in given.values() if torch.is_tensor(v) and v.is_floating_point())


def mamba_ssm_scan(op: Callable[..., Any], shape: Shape, dtype: torch.dtype, device: torch.device) -> Work:
    """`selective_scan_fn` of mamba_ssm: channels first, gate and step bias inside."""
    v = channels_first(scan_cases.timed(0, dtype, device, shape=shape), ("x", "dt", "z", "B", "C"))
    leaves = leaves_of(v)

    def run() -> tuple[Tensor, ...]:
        y = op(v["x"], v["dt"], v["A"], v["B"], v["C"], v["D"], z=v["z"], delta_bias=v["dt_bias"], delta_softplus=True)
        return (y,)

    return Work(run, leaves, torch.randn_like(v["x"].detach()))


def mamba_ssm_both_ways(op: Callable[..., Any], shape: Shape, dtype: torch.dtype, device: torch.device) -> Work:
    """Two calls with flips, as bidirectional models do."""
    v = channels_first(scan_cases.timed(0, dtype, device, shape=shape), ("x", "dt", "z", "B", "C"))
    leaves = leaves_of(v)

    def one(x: Tensor, dt: Tensor, b: Tensor, c: Tensor, z: Tensor) -> Tensor:
        return op(x, dt, v["A"], b, c, v["D"], z=z, delta_bias=v["dt_bias"], delta_softplus=True)

    def run() -> tuple[Tensor, ...]:
        given = [v[k] for k in ("x", "dt", "B", "C", "z")]
        return (one(*given) + one(*(t.flip(-1) for t in given)).flip(-1),)

    return Work(run, leaves, torch.randn_like(v["x"].detach()))


def mambapy_scan(op: Callable[..., Any], shape: Shape, dtype: torch.dtype, device: torch.device) -> Work:
    """`pscan` of mambapy: torch operations over (B, T, D, N) in memory; float32, for it would round states."""
    v = {k: t.float() if torch.is_tensor(t) else t for k, t in scan_cases.timed(0, dtype, device, shape=shape).items()}
    leaves = leaves_of(v)

    def run() -> tuple[Tensor, ...]:
        delta = F.softplus(v["dt"] + v["dt_bias"]).unsqueeze(-1)
        states = op(torch.exp(delta * v["A"]), delta * v["B"].unsqueeze(2) * v["x"].unsqueeze(-1))
        y = (states @ v["C"].unsqueeze(-1)).squeeze(-1) + v["D"] * v["x"]
        return (y * F.silu(v["z"]),)

    return Work(run, leaves, torch.randn_like(v["x"].detach()))


def causal_conv1d(op: Callable[..., Any], shape: Shape, device: torch.device) -> Work:
    """`causal_conv1d_fn`: channels first, its faster layout; it wants weights in the dtype of x."""
    v = channels_first(conv_cases.timed(0, BF16, device, shape=shape), ("x",))
    v |= {k: v[k].to(BF16) for k in ("weight", "bias")}
    leaves = leaves_of(v)
    return Work(
        lambda: (op(v["x"], v["weight"], v["bias"], activation="silu"),), leaves, torch.randn_like(v["x"].detach())
    )


def fla_conv(op: Callable[..., Any], shape: Shape, device: torch.device) -> Work:
    """`causal_conv1d` of fla: Triton, channels last; gives (y, state)."""
    v = conv_cases.timed(0, BF16, device, shape=shape)
    v |= {k: v[k].to(BF16) for k in ("weight", "bias")}
    leaves = leaves_of(v)
    run = partial(op, x=v["x"], weight=v["weight"], bias=v["bias"], activation="silu")
    return Work(lambda: (run()[0],), leaves, torch.randn_like(v["x"].detach()))


def conv1d(op: Callable[..., Any], shape: Shape, device: torch.device) -> Work:
    """`torch.nn.functional.conv1d` and SiLU: what a model without kernels runs."""
    v = channels_first(conv_cases.timed(0, BF16, device, shape=shape), ("x",))
    v |= {k: v[k].to(BF16) for k in ("weight", "bias")}
    leaves, (tokens, taps, width) = leaves_of(v), (shape[1], shape[3], shape[2])

    def run() -> tuple[Tensor, ...]:
        y = op(v["x"], v["weight"].unsqueeze(1), v["bias"], padding=taps - 1, groups=width)
        return (F.silu(y[..., :tokens]),)

    return Work(run, leaves, torch.randn_like(v["x"].detach()))


def scan_rivals(shape: Shape, dtype: torch.dtype, device: torch.device, small: bool) -> Iterator[Job]:
    """mamba_ssm everywhere; mambapy where (B, T, D, N) fits the memory several times over."""
    case, floors = name("selective_scan", shape, "BTDN"), scan_floors(shape, dtype.itemsize)
    op, missing = find("mamba_ssm.ops.selective_scan_interface", "selective_scan_fn")
    make: Callable[[], Work] = partial(mamba_ssm_scan, op, shape, dtype, device)  # type: ignore[arg-type]
    yield Job("scan", case, "", dtype, make, floors, who="mamba_ssm", missing=missing)
    if shape[2] in (128, 1536) and shape[0] > 4 and shape[3] == 16 and dtype == BF16:  # shapes of the two-way bars
        make = partial(mamba_ssm_both_ways, op, shape, dtype, device)  # type: ignore[arg-type]
        floors = scan_floors(shape, dtype.itemsize, directions=2)
        yield Job("bidirectional", case, "", dtype, make, floors, who="mamba_ssm", missing=missing)
    if small:
        op, missing = find("mambapy.pscan", "pscan")
        make = partial(mambapy_scan, op, shape, dtype, device)  # type: ignore[arg-type]
        yield Job("scan", case, "", FP32, make, scan_floors(shape, 4), who="mambapy", missing=missing)


def conv_rivals(shape: Shape, device: torch.device) -> Iterator[Job]:
    """causal_conv1d, fla and torch."""
    case, floors = name("causal_conv", shape, "BTDW"), conv_floors(shape, 2)
    for who, module, attribute, adapt in (
        ("causal_conv1d", "causal_conv1d", "causal_conv1d_fn", causal_conv1d),
        ("fla", "fla.modules.convolution", "causal_conv1d", fla_conv),
        ("torch conv1d", "torch.nn.functional", "conv1d", conv1d),
    ):
        op, missing = find(module, attribute)
        make: Callable[[], Work] = partial(adapt, op, shape, device)  # type: ignore[arg-type]
        yield Job("conv", case, "", BF16, make, floors, who=who, missing=missing)


def step_rivals(batch: int, width: int, size: int, device: torch.device) -> Iterator[Job]:
    """`selective_state_update` of mamba_ssm, which writes into the state."""
    op, missing = find("mamba_ssm.ops.triton.selective_state_update", "selective_state_update")

    def make() -> Work:
        v = step_inputs(batch, width, size, device)

        def run() -> tuple[Tensor, ...]:
            if op is None:
                raise RuntimeError(missing)
            y = op(
                v["state"], v["x"], v["dt"], v["A"], v["B"], v["C"], v["D"], z=v["z"], dt_bias=v["dt_bias"],
                dt_softplus=True,
            )  # fmt: skip
            return (y,)

        return Work(run)

    case, floors = name("selective_step", (batch, width, size), "BDN"), step_floors(batch, width, size, 2)
    yield Job("step", case, "", BF16, make, floors, who="mamba_ssm", missing=missing)
