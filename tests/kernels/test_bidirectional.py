"""Both directions of the scan: the sum of two, by two calls everywhere and by one launch of the CUDA kernels."""

from functools import partial

import pytest
import torch

from mambats_kernels import bidirectional_scan, selective_scan
from mambats_kernels.backend import BACKENDS, obstacle, use_backend
from mambats_kernels.bidirectional_scan import cases, reference
from mambats_kernels.bidirectional_scan.cuda import plan, unfit
from mambats_kernels.bidirectional_scan.cuda.plan import AFTER, BESIDE
from mambats_kernels.selective_scan.cuda import geometry
from tests.kernels.emulated import compiler, emulate
from tests.kernels.test_parity import differentiable, relative

CPU = torch.device("cpu")
HERE = [name for name in BACKENDS["selective_scan"] if obstacle(name, CPU) is None]
# Each direction is rounded to bfloat16 and their sum once more; where they cancel, that is seen.
BOUND = {torch.float32: 5e-6, torch.bfloat16: 5e-3}


def outcome(operation, arguments, dtype=None):
    """Output and gradients by name, of a weighted sum whose weights are the same for all."""
    given = differentiable(arguments).items()
    leaves = {name: value.detach().to(dtype or value.dtype).requires_grad_() for name, value in given}
    y = operation(**{**arguments, **leaves})
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(7)).bfloat16().to(y)
    slopes = torch.autograd.grad((y * weights).sum(dtype=torch.float64), list(leaves.values()))
    return {"y": y.detach(), **{f"d{name}": slope for name, slope in zip(leaves, slopes, strict=True)}}


def compare(arguments, bound):
    wanted, found = (
        outcome(reference.bidirectional_scan, arguments, torch.float64),
        outcome(bidirectional_scan, arguments),
    )
    errors = {name: relative(found[name].cpu(), wanted[name].cpu()) for name in wanted}
    assert not {name: error for name, error in errors.items() if not error <= bound}
    return found


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("name", cases.CASES)
def test_it_is_the_sum_of_two_scans(name, backend):
    with use_backend(backend):
        compare(cases.CASES[name](0, torch.float32, CPU), 1e-5)


def test_double_precision_is_the_equation_and_twice_differentiable():
    arguments = cases.arguments(0, torch.float64, CPU, shape=(1, 3, 2, 2))
    names = [name for name in differentiable(arguments) if name != "gaps"]

    def function(*tensors):
        return bidirectional_scan(**{**arguments, **dict(zip(names, tensors, strict=True))})

    tensors = [arguments[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


def test_nothing_in_gives_nothing_out():
    for shape in ((0, 4, 6, 3), (2, 0, 6, 3)):
        arguments = cases.arguments(0, torch.float32, CPU, shape=shape)
        assert bidirectional_scan(**arguments).shape == shape[:3]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"A_reverse": torch.ones(6, 4)}, "A_reverse has shape .6, 4., needed the shape of A = .6, 3."),
        ({"A_reverse": torch.ones(6, 3, dtype=torch.int64)}, "A_reverse is int64"),
        ({"A_reverse": torch.ones(6, 3, device="meta")}, "A_reverse is on meta, x on cpu"),
        ({"C": torch.ones(2, 13, 4)}, "C has shape"),
        ({"gaps": -torch.ones(2, 13)}, "gaps is -1"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        bidirectional_scan(**{**cases.arguments(0, torch.float32, CPU), **wrong})


@pytest.fixture
def emulator(monkeypatch):
    """The kernels on a CPU; chosen like on a GPU."""
    if compiler() is None:
        pytest.skip("no C++ compiler to build the emulator with")
    prepared = (plan.forward_plan, plan.backward_plan)

    def prepare(processors=1, capability=(9, 0)):
        for made in prepared:
            made.cache_clear()
        emulate(monkeypatch, processors=processors, capability=capability)

    yield prepare
    for made in prepared:
        made.cache_clear()


SHAPES = {
    "wide": partial(cases.arguments, shape=(2, 150, 64, 16)),
    "tied": partial(cases.arguments, shape=(2, 40, 40, 16), tied=True),
    "odd": partial(cases.arguments, shape=(2, 21, 7, 5), groups=1, views=True),
    "states": partial(cases.arguments, shape=(1, 40, 40, 33), groups=1, hold=True),
    "groups": partial(cases.arguments, shape=(1, 40, 96, 16), groups=2),
    "long": partial(cases.arguments, shape=(1, 640, 40, 16), lengths=(0, 200, 40, 1, 303)),
    "parts": partial(cases.arguments, shape=(1, 512, 40, 16), lengths=(0, 200, 40, 1, 250)),
    "plain": partial(cases.arguments, shape=(2, 256, 64, 16), plain=True, tied=True),
}
# processors: how full the pretended GPU is decides whether the directions follow each other, and whether time is cut.
CUTS = {
    "after": {"processors": 0.1},
    "sparse": {"processors": 0.1, "sparse": True},
    "parts": {"processors": 0.1, "launches": 2, "sparse": True},
    "quarters": {"processors": 0.1, "launches": 4},
    "large tiles": {"processors": 1.4, "launches": 2},  # of the forward pass, for the shapes of four blocks
    "beside": {"processors": 4},
    "chunks": {"processors": 40},
    "older": {"processors": 4, "capability": (8, 0)},
}
QUICK = (("parts", "parts", torch.float32), ("beside", "tied", torch.bfloat16))
MANY = [
    pytest.param(cut, shape, dtype, marks=() if (cut, shape, dtype) in QUICK else pytest.mark.slow)
    for cut in CUTS
    for shape in SHAPES
    for dtype in BOUND
    if not ("sparse" in CUTS[cut] and shape == "states")
]


@pytest.mark.parametrize(("cut", "shape", "dtype"), MANY)
def test_one_launch_is_the_sum_of_two_scans(cut, shape, dtype, emulator, monkeypatch):
    options = CUTS[cut]
    emulator(options["processors"], options.get("capability", (9, 0)))
    monkeypatch.setattr(geometry, "launches", lambda shape: options.get("launches", 1))
    monkeypatch.setattr(geometry.Shape, "sparse", property(lambda shape: options.get("sparse", False)))
    with use_backend("cuda"):
        found = compare(SHAPES[shape](0, dtype, CPU), BOUND[dtype])
        again = outcome(bidirectional_scan, SHAPES[shape](0, dtype, CPU))
    assert all(torch.equal(found[name], again[name]) for name in found)


def test_the_arrangement_follows_from_how_full_the_gpu_is():
    def shape(rows, tokens, width):
        return geometry.Shape(rows, tokens, width, 1, 16, 2)

    assert plan.arrangement(shape(256, 96, 128), 132, True) == AFTER
    assert plan.arrangement(shape(8, 2048, 1536), 132, True) == AFTER
    assert plan.arrangement(shape(8, 2048, 128), 132, True) == BESIDE
    assert plan.arrangement(shape(8, 2048, 128), 132, False) == 0
    assert plan.arrangement(shape(8, 2048, 100), 132, True) == 0
    assert plan.arrangement(shape(8, 96, 100), 132, True) == AFTER


GPU = {
    "layer": {"shape": (8, 512, 768, 16)},
    "windows": {"shape": (256, 96, 128, 16)},
    "launches": {"shape": (8, 1024, 1536, 16)},
    "tied": {"shape": (64, 200, 256, 16), "tied": True},
    "few": {"shape": (2, 100, 64, 16)},
    "chunks": {"shape": (1, 20000, 64, 16)},
    "states": {"shape": (8, 512, 768, 64)},
    "packed": {"shape": (1, 9000, 96, 16), "lengths": (0, 4000, 1, 900, 4000)},
    "wide_packed": {"shape": (1, 700, 16384, 16), "lengths": (0, 300, 1, 90, 250), "hold": True},
    "odd": {"shape": (3, 1000, 71, 5), "views": True},
}


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", GPU)
def test_on_a_gpu(name, dtype):
    arguments = cases.arguments(0, dtype, torch.device("cuda"), **GPU[name])
    found = outcome(bidirectional_scan, arguments)
    exact = {k: v.float() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in arguments.items()}
    wanted = outcome(two_calls, exact)
    errors = {k: relative(found[k].double(), wanted[k].double()) for k in wanted}
    bound = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 5e-3}[dtype]
    assert not {k: error for k, error in errors.items() if not error <= bound}
    for _ in range(3):
        again = outcome(bidirectional_scan, arguments)
        assert all(torch.equal(found[k], again[k]) for k in found)


def two_calls(A, A_reverse=None, **arguments):
    """What the launch replaces."""
    back = selective_scan(A=A if A_reverse is None else A_reverse, **arguments, reverse=True)[0]
    return selective_scan(A=A, **arguments)[0] + back


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["windows", "few", "packed"])
def test_it_compiles_on_a_gpu(name):
    arguments = cases.arguments(0, torch.bfloat16, torch.device("cuda"), **GPU[name])
    found = outcome(torch.compile(bidirectional_scan, fullgraph=True), arguments)
    wanted = outcome(bidirectional_scan, arguments)
    assert all(torch.equal(found[k], wanted[k]) for k in wanted)


@pytest.mark.gpu
def test_the_operators_pass_opcheck_on_a_gpu():
    from mambats_kernels.bidirectional_scan.cuda.op import backward_op, forward_op

    # What is saved of bfloat16 is bits, not numbers, and not written everywhere: the traced call is compared below.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    for options in ({"shape": (2, 20, 64, 16)}, {"shape": (1, 20, 64, 16), "lengths": (3, 0, 12), "tied": True}):
        given = cases.arguments(0, torch.bfloat16, torch.device("cuda"), **options)
        given = {k: v.nan_to_num() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in given.items()}
        names = ("x", "dt", "A", "A_reverse", "B", "C", "D", "z", "dt_bias", "gaps", "cu_seqlens")
        tensors = [given.get(k) for k in names]
        leaves = [v.requires_grad_() if v is not None and v.is_floating_point() else v for v in tensors]
        torch.library.opcheck(forward_op, (*leaves, True, False, True), test_utils=checks)
        plain = [None if v is None else v.detach() for v in tensors]
        y, saved = forward_op(*plain, True, False, True)
        torch.library.opcheck(backward_op, (y, *plain, saved, True, False, True))


@pytest.mark.gpu
def test_one_launch_is_what_a_gpu_takes():
    x = torch.empty(8, 2048, 1536, dtype=torch.bfloat16, device="cuda")
    b = torch.empty(8, 2048, 16, dtype=torch.bfloat16, device="cuda")
    assert unfit(x, x, b, b, x) is None
