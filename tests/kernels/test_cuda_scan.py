"""The scan's CUDA kernels on a GPU: against float64, in every option, at odd and large sizes, as torch sees them."""

from functools import partial

import pytest
import torch

from mambats_kernels import selective_scan
from mambats_kernels.backend import chosen_backend, use_backend
from mambats_kernels.selective_scan import cases, reference
from mambats_kernels.selective_scan.cuda import geometry
from mambats_kernels.selective_scan.cuda.op import backward_op, forward_op
from mambats_kernels.selective_scan.cuda.scan import forget
from tests.kernels.test_parity import outcome, relative

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the kernels run in the emulator only"),
]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Of outputs and gradients of sequences; of the sums over rows and tokens.
BARS = {torch.float32: (1e-6, 1e-5), torch.bfloat16: (2.5e-3, 2.5e-3), torch.float16: (1e-3, 1e-3)}
SUMS = ("dA", "dD", "ddt_bias", "dgaps")


def device():
    return torch.device("cuda")


def weighted(arguments):
    """Arguments on the CPU, so that the reference in float64 and the GPU see the same numbers."""
    return {n: v.to(device()) if torch.is_tensor(v) else v for n, v in arguments.items()}


def scan(**arguments):
    y, final = selective_scan(**weighted(arguments))
    return y.cpu(), final.cpu()


def errors(arguments):
    wanted, found = outcome(reference.selective_scan, arguments, torch.float64), outcome(scan, arguments)
    return {name: relative(found[name], wanted[name]) for name in wanted}


def compare(arguments, dtype):
    assert not {n: e for n, e in errors(arguments).items() if not e <= BARS[dtype][n in SUMS]}


def test_cuda_is_the_choice():
    assert chosen_backend("selective_scan", device(), torch.bfloat16) == "cuda"


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=["fp32", "bf16"])
@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_case(case, dtype):
    # A hundred numbers, each rounded once: their error scatters, up to 2.7e-3 in bfloat16.
    found, bound = errors(case.make(0, dtype, torch.device("cpu"))), min(case.tolerance[dtype], 4e-3)
    assert not {n: e for n, e in found.items() if not e <= bound}


SHAPES = {
    "bars": partial(cases.arguments, shape=(2, 512, 64, 16)),
    "hold": partial(cases.arguments, shape=(2, 200, 64, 16), hold=True),
    "wide": partial(cases.arguments, shape=(2, 130, 1536, 16)),
    "groups": partial(cases.arguments, shape=(2, 130, 96, 16), groups=3),
    "odd": partial(cases.arguments, shape=(3, 117, 75, 16), views=True),
    "one_state": partial(cases.arguments, shape=(2, 130, 40, 1)),
    "many_states": partial(cases.arguments, shape=(2, 70, 40, 100)),
    "most_states": partial(cases.arguments, shape=(1, 70, 40, 256)),
    "rows": partial(cases.arguments, shape=(300, 33, 64, 16)),
    "packed": partial(cases.arguments, shape=(1, 600, 64, 16), lengths=(200, 0, 37, 250, 70)),
    "packed_back": partial(cases.arguments, shape=(1, 600, 64, 16), lengths=(200, 0, 37, 250, 70), reverse=True),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, dtype):
    compare(SHAPES[name](1, dtype, torch.device("cpu")), dtype)


@pytest.mark.parametrize("name", ["bars", "packed_back"])
def test_states_left_out_and_launches(name, monkeypatch):
    forget()
    monkeypatch.setattr(geometry.Shape, "sparse", property(lambda shape: True))
    monkeypatch.setattr(geometry, "launches", lambda shape: 3)
    compare(SHAPES[name](2, torch.bfloat16, torch.device("cpu")), torch.bfloat16)
    forget()


def test_slices_that_are_not_aligned():
    made = cases.arguments(3, torch.bfloat16, device(), shape=(2, 50, 64, 16))
    for start in (0, 1, 8):  # as a projection's output is cut up
        wide = torch.cat([made["x"].new_zeros(2, 50, start), made["x"], made["B"], made["C"]], -1)
        x, b, c = wide[..., start : start + 64], wide[..., start + 64 : start + 80], wide[..., start + 80 :]
        found, wanted = selective_scan(**{**made, "x": x, "B": b, "C": c}), selective_scan(**made)
        assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["bars", "packed"])
def test_two_runs_are_bit_equal_and_never_wait(name):
    made = weighted(SHAPES[name](4, torch.bfloat16, torch.device("cpu")))
    leaves = {n: v.requires_grad_() for n, v in made.items() if torch.is_tensor(v) and v.is_floating_point()}

    def run():
        y, final = selective_scan(**made)
        return y, final, *torch.autograd.grad((y, final), list(leaves.values()), (y.detach(), final.detach()))

    first = run()
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_operators_pass_opcheck():
    # Of what is saved of packed sequences, places in between are never written: traced and eager may differ there.
    most = ("test_schema", "test_autograd_registration", "test_faketensor")
    for lengths, checks in ((None, (*most, "test_aot_dispatch_dynamic")), ((20, 0, 30), most)):
        made = cases.arguments(5, torch.float32, device(), shape=(1, 64, 32, 16), lengths=lengths)
        tensors = [made[n] for n in ("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "gaps", "initial_state")]
        tensors = [v.nan_to_num().requires_grad_() for v in tensors]
        given = (*tensors, made["cu_seqlens"])
        torch.library.opcheck(forward_op, (*given, True, False, False, True), test_utils=checks)
        plain = [v.detach() if torch.is_tensor(v) else v for v in given]
        y, final, saved = forward_op(*plain, True, False, False, True)
        torch.library.opcheck(backward_op, (y, final, *plain, saved, True, False, False, True), test_utils=checks)


def test_a_compiled_scan_is_one_graph_and_equals_eager():
    made = cases.arguments(6, torch.float32, device(), shape=(2, 100, 32, 16))
    compiled = torch.compile(lambda x: selective_scan(**{**made, "x": x}), fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, lambda x: selective_scan(**{**made, "x": x})):
        x = made["x"].detach().requires_grad_()
        y, final = function(x)
        results.append((y, final, torch.autograd.grad(y.sum() + final.sum(), x)[0]))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_mix_of_dtypes_is_read_as_float32():
    made = cases.arguments(7, torch.float32, device(), shape=(2, 40, 32, 16))
    y, _ = selective_scan(**{**made, "x": made["x"].bfloat16()})
    with use_backend("torch"):
        wanted, _ = selective_scan(**{**made, "x": made["x"].bfloat16()})
    assert y.dtype == torch.bfloat16 and relative(y, wanted.double()) < 3e-3


def test_too_many_states_run_on_torch_operations():
    made = cases.arguments(8, torch.float32, device(), shape=(1, 9, 4, 300))
    with pytest.warns(RuntimeWarning, match="up to 256"):
        y, _ = selective_scan(**made)
    assert y.isfinite().all()


def test_more_than_two_thousand_million_elements():
    tokens, width = 1_100_000, 2048
    free = torch.cuda.mem_get_info()[0]
    if free < 24 * 2**30:
        pytest.skip(f"needs 24 GiB of GPU memory, {free / 2**30:.0f} are free")
    random = torch.Generator(device="cuda").manual_seed(0)
    x = torch.randn(1, tokens, width, device="cuda", dtype=torch.bfloat16, generator=random)
    b = torch.randn(1, tokens, 16, device="cuda", dtype=torch.bfloat16, generator=random)
    a = -torch.rand(width, 16, device="cuda", generator=random) - 0.5
    with torch.no_grad():
        y, _ = selective_scan(x, x, a, b, b, dt_softplus=True)
        # After 2,048 tokens nothing is left of what was before.
        part, _ = selective_scan(x[:, -2500:], x[:, -2500:], a, b[:, -2500:], b[:, -2500:], dt_softplus=True)
    assert relative(y[:, -400:].double(), part[:, -400:].double()) < 1e-3


class Wrapped(torch.nn.Module):
    def __init__(self, made):
        super().__init__()
        self.made = {n: v for n, v in made.items() if n != "x"}

    def forward(self, x):
        return selective_scan(x, **self.made)


def test_an_exported_scan_equals_eager():
    made = cases.arguments(9, torch.float32, device(), shape=(2, 40, 32, 16))
    exported = torch.export.export(Wrapped(made), (made["x"],)).module()
    assert all(torch.equal(a, b) for a, b in zip(exported(made["x"]), selective_scan(**made), strict=True))


def test_autocast_changes_nothing():
    made = cases.arguments(10, torch.float32, device(), shape=(2, 40, 32, 16))
    x, results = made["x"].requires_grad_(), []
    for enabled in (False, True):
        with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            y, final = selective_scan(**made)
            results.append((y, final, torch.autograd.grad(y.sum() + final.sum(), x)[0]))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_second_gradients_come_from_the_reference():
    made = cases.arguments(11, torch.float32, device(), plain=True)
    x = made["x"].requires_grad_()
    slope = torch.autograd.grad(selective_scan(**made)[0].square().sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="differentiate twice|not have been used in the graph"):
        torch.autograd.grad(slope.sum(), x)
    with use_backend("reference"):
        slope = torch.autograd.grad(selective_scan(**made)[0].square().sum(), x, create_graph=True)[0]
    assert torch.autograd.grad(slope.sum(), x)[0].isfinite().all()
