"""The convolution's CUDA kernels: emulated on the CPU always, and on a GPU where there is one."""

import pytest
import torch

from mambats_kernels.causal_conv import reference
from mambats_kernels.causal_conv.cases import _MAKERS as MAKERS
from mambats_kernels.causal_conv.cases import arguments
from mambats_kernels.causal_conv.cuda import launch, plan
from mambats_kernels.causal_conv.cuda.op import conv_backward, conv_forward, cuda_conv, takes
from tests.kernels.emulated import FORWARD, REVERSE, compiler, emulated_load, thread_order

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# One rounding to bfloat16 makes 1.7e-3, to float16 2.1e-4.
NAMES = ("y", "final", "dx", "dweight", "dbias", "dinitial_state")
BOUNDS = {torch.float32: 1e-6, torch.bfloat16: 2.5e-3, torch.float16: 4e-4}


def run(**given):
    """`cuda_conv` with every option named."""
    options = {"bias": None, "activation": None, "cu_seqlens": None, "initial_state": None, "reverse": False}
    return cuda_conv(**{**options, **given})


def outcome(operation, given, dtype=None):
    """Output, final state and gradients by name, of a sum with the same weights in every dtype."""
    leaves = {
        name: value.detach().to(dtype or value.dtype).requires_grad_()
        for name, value in given.items()
        if torch.is_tensor(value) and value.is_floating_point()
    }
    y, final = operation(**{**given, **leaves})
    random = torch.Generator().manual_seed(7)
    weights = [torch.randn(v.shape, generator=random).bfloat16().to(v) for v in (y, final)]
    loss = sum((v * w).sum(dtype=torch.float64) for v, w in zip((y, final), weights, strict=True))
    slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    found = {"y": y, "final": final} | {f"d{n}": s for n, s in zip(leaves, slopes, strict=True) if s is not None}
    return {name: value.detach() for name, value in found.items()}


def relative(given, wanted):
    size = wanted.norm()
    return float((given.double() - wanted).norm() / size) if size > 0 else float(given.abs().sum())


def errors(given):
    """Relative errors of everything against the reference in float64."""
    wanted, found = outcome(reference.causal_conv, given, torch.float64), outcome(run, given)
    assert found.keys() == wanted.keys()
    assert all(bool(value.isfinite().all()) for value in found.values())
    return {name: relative(found[name], wanted[name]) for name in wanted}


def right(given):
    # An initial state of a few dozen numbers: the error of rounding each once scatters by half.
    bound = {name: BOUNDS[given["x"].dtype] * (1.5 if name == "dinitial_state" else 1) for name in NAMES}
    assert not {name: error for name, error in errors(given).items() if not error <= bound[name]}


@pytest.fixture
def emulated(monkeypatch):
    if compiler() is None:
        pytest.skip("the emulator needs a C++ compiler")
    for plans in (launch._forward, launch._backward):
        plans.clear()
    monkeypatch.setattr(plan, "load", emulated_load)
    monkeypatch.setattr(launch, "stream", lambda device: 0)
    yield
    for plans in (launch._forward, launch._backward):
        plans.clear()


SLOW = pytest.mark.slow  # each kernel takes the emulator a second to compile
SHORT = ("full", "width_one", "packed_reverse")


@pytest.mark.parametrize("name", [n if n in SHORT else pytest.param(n, marks=SLOW) for n in MAKERS])
def test_emulated_cases_are_right(emulated, name):
    right(MAKERS[name](0, torch.float32, CPU))


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=SLOW)], ids=["bf16", "fp16"])
def test_emulated_halves_are_right(emulated, dtype):
    right(arguments(1, dtype, CPU, shape=(2, 43, 48, 4)))


def sliced(given, start):
    """The same numbers as a slice of wider rows, as a projection's half is one."""
    x = given["x"]
    base = x.new_zeros((*x.shape[:2], 2 * x.shape[2] + 8))
    part = base[..., start : start + x.shape[2]]
    part.copy_(x)
    return {**given, "x": part}


@pytest.mark.parametrize("start", [pytest.param(8, marks=SLOW), 1], ids=["aligned", "misaligned"])
def test_emulated_slices_are_right(emulated, start):
    given = sliced(arguments(2, torch.bfloat16, CPU, shape=(2, 19, 16, 4)), start)
    (y, final), (same, last) = run(**given), run(**{**given, "x": given["x"].contiguous()})
    assert torch.equal(y, same) and torch.equal(final, last)


def test_the_order_of_threads_does_not_matter(emulated):
    given, found = arguments(3, torch.float32, CPU, shape=(2, 70, 24, 3)), []
    for order in (FORWARD, REVERSE, 5):
        with thread_order(order):
            found.append(outcome(run, given))
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in other)


@pytest.mark.parametrize("reverse", [pytest.param(False, marks=SLOW), True], ids=["forward", "reverse"])
def test_wrong_borders_stay_in_range(emulated, reverse):
    given = arguments(4, torch.float32, CPU, shape=(1, 40, 4, 4), lengths=(9, 11, 7), reverse=reverse)
    for borders in ([0, 30, 12, 40], [7, 9, 99, 12], [-5, 50, 60, 2], [90, 80, 70, 60]):
        x, outer = given["x"].nan_to_num(), torch.full((1, 60, 4), torch.nan)  # what lies around would show
        outer[:, 10:50] = x
        found = run(**{**given, "x": outer[:, 10:50], "cu_seqlens": torch.tensor(borders)})
        assert all(bool(v.isfinite().all()) for v in found)


def test_what_the_kernels_take():
    x = torch.zeros(2, 3, 4)
    assert takes(x, torch.zeros(4, 4)) and not takes(x, torch.zeros(4, 17)) and not takes(x[:0], torch.zeros(4, 4))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("name", MAKERS)
def test_cases_are_right(name, dtype):
    right(MAKERS[name](0, dtype, GPU))


MANY = tuple((37 * k * k + 5) % 41 for k in range(60))
SHAPES = {
    "wide": {"shape": (2, 333, 1536, 4)},
    "long": {"shape": (1, 20011, 24, 4), "reverse": True},
    "rows": {"shape": (700, 5, 40, 4)},
    "odd": {"shape": (3, 101, 67, 5)},
    "one_channel": {"shape": (2, 999, 1, 3)},
    "many_taps": {"shape": (2, 77, 32, 16)},
    "eight_taps": {"shape": (2, 77, 64, 8), "reverse": True},
    "packed": {"shape": (1, sum(MANY) + 9, 96, 4), "lengths": MANY},
    "packed_reverse": {"shape": (1, sum(MANY) + 9, 40, 4), "lengths": MANY, "reverse": True},
    "packed_wide": {"shape": (1, sum(MANY), 17, 7), "lengths": MANY},
}


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_shapes_are_right(options, dtype):
    right(arguments(1, dtype, GPU, **options))


@pytest.mark.gpu
@pytest.mark.parametrize("start", [8, 4, 2, 1])
def test_slices_are_right(start):
    right(sliced(arguments(2, torch.bfloat16, GPU, shape=(3, 130, 256, 4)), start))


@pytest.mark.gpu
def test_weights_in_halves_and_broadcast_slopes_are_right():
    given = arguments(2, torch.bfloat16, GPU, shape=(3, 130, 64, 4))
    right({**given, "weight": given["weight"].bfloat16(), "bias": given["bias"].bfloat16()})
    x = given["x"].requires_grad_()
    found, wanted = (torch.autograd.grad(f(**given)[0].sum(), x)[0] for f in (run, reference.causal_conv))
    assert relative(found, wanted.double()) < 1e-2


@pytest.mark.gpu
@pytest.mark.parametrize("lengths", [None, MANY], ids=["dense", "packed"])
def test_two_runs_are_bit_equal(lengths):
    shape = (4, 1000, 512, 4) if lengths is None else (1, sum(MANY) + 3, 512, 4)
    given = arguments(3, torch.bfloat16, GPU, shape=shape, lengths=lengths)
    first, second = outcome(run, given), outcome(run, given)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.gpu
def test_what_lies_behind_packed_sequences_is_ignored():
    given = arguments(4, torch.bfloat16, GPU, shape=(1, 60, 64, 4), lengths=(9, 0, 30))
    assert given["x"][:, 39:].isnan().all()
    found = outcome(run, given)
    assert not found["y"][:, 39:].any() and not found["dx"][:, 39:].any()
    assert all(bool(value.isfinite().all()) for value in found.values())


@pytest.mark.gpu
@pytest.mark.parametrize("lengths", [None, (9, 0, 30)], ids=["dense", "packed"])
def test_it_never_waits_for_the_device(lengths):
    given = arguments(5, torch.bfloat16, GPU, shape=(1, 60, 64, 4), lengths=lengths)
    x = given["x"].requires_grad_()

    def step():
        y, final = run(**given)
        torch.autograd.grad((y, final), x, (y.detach(), final.detach()))

    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("lengths", [None, (9, 0, 30)], ids=["dense", "packed"])
def test_compiled_equals_eager(lengths):
    torch.compiler.reset()
    given = arguments(6, torch.bfloat16, GPU, shape=(1, 60, 64, 4), lengths=lengths)
    compiled = torch.compile(run, fullgraph=True)
    found, wanted = outcome(compiled, given), outcome(run, given)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("lengths", [None, (9, 0, 30)], ids=["dense", "packed"])
def test_the_operators_pass_opcheck(lengths):
    given = arguments(7, torch.float32, GPU, shape=(1, 60, 16, 4), lengths=lengths)
    names = ("x", "weight", "bias", "initial_state")
    tensors = [given[name].nan_to_num().requires_grad_() for name in names]
    torch.library.opcheck(conv_forward, (*tensors, given["cu_seqlens"], True, False))
    plain = [v.detach() for v in tensors]
    y, final = conv_forward(*plain, given["cu_seqlens"], True, False)
    torch.library.opcheck(conv_backward, (y, final, *plain, given["cu_seqlens"], True, False))


@pytest.mark.gpu
def test_a_captured_call_replays():
    given = arguments(8, torch.bfloat16, GPU, shape=(2, 60, 64, 4))
    wanted, graph = run(**given), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run(**given)
    graph.replay()
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.gpu
def test_more_than_two_to_the_31_elements():
    tokens, width = 2_070_000, 1040
    x = torch.empty(1, tokens, width, dtype=torch.bfloat16, device=GPU)
    x.view(-1)[:].random_(-8, 8)
    assert x.numel() > 2**31
    weight = torch.randn(width, 4, device=GPU)
    y, final = run(x=x, weight=weight, activation="silu")
    for lo in (0, 2**31 // width - 20, tokens - 40):
        before = max(lo - 3, 0)
        wanted = reference.causal_conv(x[:, before : lo + 40].double(), weight.double(), activation="silu")[0]
        assert relative(y[:, lo : lo + 40], wanted[:, lo - before :]) < 2.5e-3
    assert torch.equal(final[0], x[0, -3:])
