"""The operators as torch sees them: gradients by finite differences, schemas, fake tensors, the compiler."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mambats_kernels import causal_conv, causal_conv_step, selective_scan, selective_step
from mambats_kernels.backend import BACKENDS, obstacle, use_backend
from mambats_kernels.causal_conv import cases as conv_cases
from mambats_kernels.causal_conv import shifted_op as conv_op
from mambats_kernels.selective_scan import cases as scan_cases
from mambats_kernels.selective_scan import op as scan_op

CPU = torch.device("cpu")
HERE = [name for name in BACKENDS["selective_scan"] if obstacle(name, CPU) is None]  # native where it was built


def as_function(operation, arguments):
    """The operation as a function of its float tensors alone."""
    names = [name for name, value in arguments.items() if torch.is_tensor(value) and value.is_floating_point()]

    def function(*tensors):
        return operation(**{**arguments, **dict(zip(names, tensors, strict=True))})

    return function, [arguments[name].detach().requires_grad_() for name in names]


SMALL = {
    "full": {"shape": (2, 3, 2, 2)},
    "hold": {"shape": (1, 3, 2, 2), "hold": True},
    "reverse_groups": {"shape": (1, 3, 4, 1), "reverse": True, "groups": 2},
    "packed": {"shape": (1, 4, 2, 2), "lengths": (1, 0, 2)},
    "packed_hold_reverse": {"shape": (1, 4, 2, 2), "lengths": (1, 0, 3), "hold": True, "reverse": True},
}


def differentiable_scan(options):
    """Arguments around which differences can be taken: no NaN in the tail, no gap at its lower bound."""
    made = scan_cases.arguments(0, torch.float64, CPU, **options)
    made |= {name: made[name].nan_to_num() for name in ("x", "dt", "B", "C", "z", "gaps")}
    return {**made, "gaps": made["gaps"] + 0.1}


@pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)
def test_scan_gradients(options):
    function, tensors = as_function(selective_scan, differentiable_scan(options))
    assert torch.autograd.gradcheck(function, tensors)


@pytest.mark.parametrize("options", [SMALL["full"], SMALL["packed_hold_reverse"]], ids=["full", "packed_hold_reverse"])
def test_scan_second_gradients(options):
    function, tensors = as_function(selective_scan, differentiable_scan(options))
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"lengths": (1, 0, 3)}], ids=["full", "reverse", "packed"])
def test_conv_gradients(options):
    arguments = conv_cases.arguments(0, torch.float64, CPU, shape=(1, 4, 2, 3), **options)
    function, tensors = as_function(causal_conv, arguments)
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


def test_step_gradients():
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()

    mask = torch.tensor([True, False])

    def scan_step(x, dt, a, b, c, state, gap):
        return selective_step(
            x, dt, -a.square() - 0.1, b, c, state=state, gap_t=gap.square(), dt_softplus=True, hold=True, mask=mask
        )

    tensors = [normal(2, 2), normal(2, 2), normal(2, 2), normal(2, 2), normal(2, 2), normal(2, 2, 2), normal(2)]
    assert torch.autograd.gradcheck(scan_step, tensors)

    def conv_step(x, weight, bias, state):
        return causal_conv_step(x, weight, bias, state=state, activation="silu", mask=mask)

    assert torch.autograd.gradcheck(conv_step, [normal(2, 2), normal(2, 3), normal(2), normal(2, 2, 2)])


def test_the_fast_path_refuses_second_gradients():
    arguments = scan_cases.arguments(0, torch.float32, CPU, plain=True)
    x = arguments["x"].requires_grad_()
    slope = torch.autograd.grad(selective_scan(**arguments)[0].square().sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="autograd"):
        torch.autograd.grad(slope.sum(), x)
    with use_backend("reference"):
        slope = torch.autograd.grad(selective_scan(**arguments)[0].square().sum(), x, create_graph=True)[0]
    assert torch.autograd.grad(slope.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_scan_operators_pass_opcheck(packed):
    span, u = torch.rand(2 - packed, 9, 6), torch.randn(2 - packed, 9, 6)
    b, c = torch.randn(2 - packed, 9, 2, 3), torch.randn(2 - packed, 9, 2, 3)
    initial, borders = torch.randn(2, 6, 3), torch.tensor([[0, -1], [6, -1]]) if packed else None
    tensors = [v.requires_grad_() for v in (span, u, -torch.rand(6, 3) - 0.1, b, c, initial)]
    torch.library.opcheck(scan_op.scan_forward, (*tensors, borders, True, packed, True))
    given = [v.detach() for v in tensors]
    y, final, saved = scan_op.scan_forward(*given, borders, True, packed, True)
    torch.library.opcheck(scan_op.scan_backward, (y, final, *given, borders, saved, True, packed))


def test_conv_operators_pass_opcheck():
    line, weight, bias = torch.randn(2, 9, 4).bfloat16(), torch.randn(4, 3), torch.randn(4)
    for place in (None, torch.tensor([0, 1, 2, 0, 1, 2, 3])):
        tensors = [v.detach().requires_grad_() for v in (line, weight, bias)]
        torch.library.opcheck(conv_op.taps_forward, (*tensors, place))
        torch.library.opcheck(conv_op.taps_backward, (torch.randn(2, 7, 4), line, weight, place))


@pytest.mark.parametrize("backend", HERE)
def test_fake_tensors_have_the_real_shapes(backend):
    with use_backend(backend):
        for module, operation in ((scan_cases, selective_scan), (conv_cases, causal_conv)):
            for lengths in (None, (3, 0, 4)):
                arguments = module.arguments(0, torch.bfloat16, CPU, shape=(1, 9, 4, 3), lengths=lengths)
                real = operation(**arguments)
                with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                    faked = {n: mode.from_tensor(v) if torch.is_tensor(v) else v for n, v in arguments.items()}
                    fake = operation(**faked)
                assert [(v.shape, v.dtype, v.stride()) for v in real] == [(v.shape, v.dtype, v.stride()) for v in fake]


def block(scan, conv):
    """A convolution into a scan, as a mixer joins them."""
    x, state = causal_conv(**conv)
    y, final = selective_scan(**{**scan, "x": x})
    return y, final, state


def compiled_equals_eager(arguments, backend="eager"):
    torch.compiler.reset()
    scan, conv = arguments
    found, wanted = [], []
    for function, results in ((torch.compile(block, fullgraph=True, backend=backend), found), (block, wanted)):
        x, a = conv["x"].detach().requires_grad_(), scan["A"].detach().requires_grad_()
        outputs = function({**scan, "A": a}, {**conv, "x": x})
        results += [*outputs, *torch.autograd.grad(sum(v.float().square().sum() for v in outputs), (x, a))]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def pair(lengths=None, **options):
    shape = (2, 9, 4, 3) if lengths is None else (1, 9, 4, 3)
    scan = scan_cases.arguments(0, torch.float32, CPU, shape=shape, lengths=lengths, **options)
    conv = conv_cases.arguments(0, torch.float32, CPU, shape=shape, lengths=lengths)
    return {n: v for n, v in scan.items() if n != "x"}, {n: v for n, v in conv.items()}


@pytest.mark.parametrize("lengths", [None, (3, 0, 4)], ids=["dense", "packed"])
def test_a_block_is_one_graph(lengths):
    compiled_equals_eager(pair(lengths), backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [None, (3, 0, 4)], ids=["dense", "packed"])
@pytest.mark.parametrize("options", [{}, {"hold": True}], ids=["event", "hold"])
def test_a_compiled_block_equals_eager(options, lengths):
    compiled_equals_eager(pair(lengths, **options), backend="inductor")


@pytest.mark.slow
def test_one_graph_serves_every_length():
    torch.compiler.reset()
    counted = torch.compile(lambda scan: selective_scan(**scan), fullgraph=True, backend="aot_eager", dynamic=True)
    for tokens in (5, 9, 14, 33):
        scan = scan_cases.arguments(0, torch.float32, CPU, shape=(2, tokens, 4, 3))
        with torch.no_grad():
            torch.testing.assert_close(counted(scan)[0], selective_scan(**scan)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", HERE)
def test_autocast_changes_nothing(backend):
    def run():
        made = scan_cases.arguments(1, torch.float32, CPU)
        x = made["x"].requires_grad_()
        y, final = selective_scan(**made)
        return y, final, torch.autograd.grad(y.sum() + final.sum(), x)[0]

    with use_backend(backend):
        wanted = run()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = run()
    assert all(torch.equal(one, other) for one, other in zip(found[:2], wanted[:2], strict=True))
    torch.testing.assert_close(found[2], wanted[2], rtol=1e-5 if backend != "reference" else 2e-2, atol=1e-2)


def test_inference_mode_and_other_integers():
    made = scan_cases.arguments(1, torch.float32, CPU, shape=(1, 9, 4, 3), lengths=(3, 0, 4))
    wanted = selective_scan(**made)
    with torch.inference_mode():
        found = selective_scan(**{**made, "cu_seqlens": made["cu_seqlens"].int()})
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_half_precision_of_either_kind():
    for dtype in (torch.float16, torch.bfloat16):
        made = scan_cases.arguments(1, dtype, CPU)
        y, final = selective_scan(**made)
        state = causal_conv(**conv_cases.arguments(1, dtype, CPU))[1]
        assert y.dtype == state.dtype == dtype and final.dtype == torch.float32
        assert y.isfinite().all()
