"""The step kernels: emulated on the CPU always, and on a GPU where there is one."""

import pytest
import torch

from mambats_kernels.causal_conv import reference as conv_reference
from mambats_kernels.causal_conv.cuda import step as conv_step
from mambats_kernels.causal_conv.cuda.step import cuda_conv_step
from mambats_kernels.selective_scan import reference
from mambats_kernels.selective_step.cuda import launch
from mambats_kernels.selective_step.cuda.launch import cuda_step
from tests.kernels.emulated import compiler, emulated_load

CPU = torch.device("cpu")
SLOW = pytest.mark.slow  # each kernel takes the emulator a second to compile


@pytest.fixture
def emulated(monkeypatch):
    if compiler() is None:
        pytest.skip("the emulator needs a C++ compiler")
    for module in (conv_step, launch):
        monkeypatch.setattr(module, "load", emulated_load)
        monkeypatch.setattr(module, "stream", lambda device: 0)
        monkeypatch.setattr(module, "_plans", {})


def scan_arguments(device, dtype=torch.float32, *, shape=(3, 6, 4), groups=0, plain=False, **options):
    """Arguments of `selective_step`: x, z, B and C are slices of wider rows, as in a mixer; absent rows hold NaN."""
    batch, width, states = shape
    random = torch.Generator().manual_seed(batch + width + states)

    def normal(*sizes):
        return torch.randn(sizes, generator=random, dtype=torch.float64)

    x, z = normal(batch, 2 * width).to(device, dtype).chunk(2, -1)
    b, c = normal(batch, 1 + 2 * max(groups, 1) * states).to(device, dtype)[:, 1:].chunk(2, -1)
    if groups:
        b, c = b.unflatten(1, (groups, states)), c.unflatten(1, (groups, states))
    given = {
        "x_t": x,
        "dt_t": normal(batch, width).to(device, dtype),
        "A": -torch.rand((width, states), generator=random).add(0.01).to(device),
        "B_t": b,
        "C_t": c,
        "state": normal(batch, width, states).float().to(device),
        "dt_softplus": True,
    }
    if not plain:
        mask = (torch.arange(batch) % 3 != 1).to(device)
        x[~mask], b[~mask], z[~mask] = torch.nan, torch.nan, torch.nan
        given |= {"z_t": z, "D": normal(width).float().to(device), "dt_bias": normal(width).float().to(device)}
        given |= {"gap_t": torch.rand(batch, generator=random).mul(3).to(device), "mask": mask}
    return {**given, **options}


SCANS = {
    "full": {},
    "plain": {"plain": True, "dt_softplus": False, "dt_t": torch.rand(3, 6)},
    "hold": {"hold": True},
    "groups": {"groups": 3},
    "states_of_fives": {"shape": (2, 5, 5), "hold": True},
    "one_state": {"shape": (4, 3, 1)},
    "many_states": {"shape": (2, 3, 256)},
    "many_odd_states": {"shape": (1, 2, 67)},
    "more_than_a_block": {"shape": (5, 37, 16)},
}

SHORT = ("full", "hold", "groups", "states_of_fives")


def wide(given):
    return {n: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for n, v in given.items()}


def close(found, wanted, bound):
    for one, other in zip(found, wanted, strict=True):
        size = other.double().norm().clamp(min=1e-30)
        assert float((one.double() - other).norm() / size) <= bound


def right_scan(given, bound=1e-6):
    before = given["state"].clone()
    found = cuda_step(**given)
    close(found, reference.selective_step(**wide(given)), bound)
    assert found[0].dtype == given["x_t"].dtype and found[1].dtype == torch.float32
    assert torch.equal(given["state"], before), "the state was changed in place"
    if given.get("mask") is not None:
        absent = ~given["mask"]
        assert not found[0][absent].any() and torch.equal(found[1][absent], before[absent])


@pytest.mark.parametrize("name", [n if n in SHORT else pytest.param(n, marks=SLOW) for n in SCANS])
def test_emulated_scan_steps_are_right(emulated, name):
    right_scan(scan_arguments(CPU, **SCANS[name]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=SLOW)], ids=["bf16", "fp16"])
def test_emulated_scan_step_takes_halves(emulated, dtype):
    right_scan(scan_arguments(CPU, dtype), 3e-3)


def conv_arguments(device, dtype=torch.float32, *, shape=(3, 5, 4), plain=False, **options):
    batch, width, taps = shape
    random = torch.Generator().manual_seed(batch + width + taps)

    def normal(*sizes):
        return torch.randn(sizes, generator=random, dtype=torch.float64)

    x = normal(batch, 2 * width).to(device, dtype)[:, :width]
    given = {"x_t": x, "weight": normal(width, taps).float().to(device)}
    given["state"] = normal(batch, taps - 1, width).to(device, dtype)
    if not plain:
        mask = (torch.arange(batch) % 3 != 1).to(device)
        x[~mask] = torch.nan
        given |= {"bias": normal(width).float().to(device), "mask": mask, "activation": "silu"}
    return {**given, **options}


CONVS = {
    "full": {},
    "plain": {"plain": True},
    "one_tap": {"shape": (3, 5, 1)},
    "two_taps": {"shape": (2, 130, 2)},
    "many_taps": {"shape": (2, 3, 9)},
}


def right_conv(given, bound=1e-6):
    found = cuda_conv_step(**given)
    close(found, conv_reference.causal_conv_step(**wide(given)), bound)
    state = conv_reference.causal_conv_step(**given)[1]
    assert found[0].dtype == given["x_t"].dtype and torch.equal(found[1], state)


@pytest.mark.parametrize("options", CONVS.values(), ids=CONVS)
def test_emulated_conv_steps_are_right(emulated, options):
    right_conv(conv_arguments(CPU, **options))


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=SLOW)], ids=["bf16", "fp16"])
def test_emulated_conv_step_takes_halves(emulated, dtype):
    right_conv(conv_arguments(CPU, dtype), 3e-3)


def test_what_does_not_fit_is_refused_whatever_was_seen_before(emulated):
    scan, conv = scan_arguments(CPU), conv_arguments(CPU)
    cuda_step(**scan), cuda_conv_step(**conv)
    with pytest.raises(ValueError, match="state has shape"):
        cuda_step(**{**scan, "state": scan["state"][:, :, :2]})
    with pytest.raises(ValueError, match="D is int64"):
        cuda_step(**{**scan, "D": scan["D"].long()})
    with pytest.raises(ValueError, match="bias has shape"):
        cuda_conv_step(**{**conv, "bias": conv["bias"][:2]})
    with pytest.raises(ValueError, match="activation"):
        cuda_conv_step(**{**conv, "activation": "relu"})


def test_other_dtypes_are_cast(emulated):
    scan, conv = scan_arguments(CPU), conv_arguments(CPU)
    right_scan({**scan, "A": scan["A"].double(), "D": scan["D"].double(), "gap_t": scan["gap_t"].double()})
    right_conv({**conv, "weight": conv["weight"].double(), "state": conv["state"].double()})


GPU = torch.device("cuda", 0)
BOUNDS = {torch.float32: 1e-6, torch.bfloat16: 3e-3, torch.float16: 1e-3}
SIZES = {
    "one_row": (1, 1536, 16),
    "rows": (64, 384, 16),
    "many_rows": (1024, 48, 16),
    "odd": (7, 33, 5),
    "most": (3, 40, 256),
}


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", BOUNDS, ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("options", [*SCANS.values(), *({"shape": s} for s in SIZES.values())], ids=[*SCANS, *SIZES])
def test_scan_steps_are_right(options, dtype):
    given = scan_arguments(GPU, dtype, **options)
    given["dt_t"] = given["dt_t"].to(GPU)
    right_scan(given, BOUNDS[dtype])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", BOUNDS, ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("options", [*CONVS.values(), *({"shape": s} for s in SIZES.values())], ids=[*CONVS, *SIZES])
def test_conv_steps_are_right(options, dtype):
    right_conv(conv_arguments(GPU, dtype, **options), BOUNDS[dtype])


@pytest.mark.gpu
def test_steps_never_wait_for_the_device():
    scan, conv = scan_arguments(GPU), conv_arguments(GPU)
    cuda_step(**scan), cuda_conv_step(**conv)
    torch.cuda.set_sync_debug_mode("error")
    try:
        cuda_step(**scan), cuda_conv_step(**conv)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_steps_can_be_captured():
    scan, conv = scan_arguments(GPU), conv_arguments(GPU)
    wanted = [*cuda_step(**scan), *cuda_conv_step(**conv)]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = [*cuda_step(**scan), *cuda_conv_step(**conv)]
    graph.replay()
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
