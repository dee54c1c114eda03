"""Packed sequences that the CUDA scan walks as rows of their own: when, in the emulator, and on a GPU."""

from functools import partial

import pytest
import torch

from mambats_kernels import bidirectional_scan, selective_scan
from mambats_kernels.bidirectional_scan.cuda import unfit
from mambats_kernels.case import borders
from mambats_kernels.selective_scan import cases, reference
from mambats_kernels.selective_scan.cuda import cuda_scan, geometry, rows
from mambats_kernels.selective_scan.cuda.op import backward_op, forward_op
from mambats_kernels.selective_scan.cuda.scan import forget, shape_of
from tests.kernels.emulated import REVERSE, compiler, emulate, thread_order
from tests.kernels.test_parity import outcome, relative

CPU = torch.device("cpu")
ABSENT = dict.fromkeys(("D", "z", "dt_bias", "gaps", "cu_seqlens", "initial_state"))
BOUND = {torch.float32: 3e-6, torch.bfloat16: 2.5e-3, torch.float16: 2e-3}


def packed(sequences, tokens, width):
    return rows.parted(geometry.Shape(1, tokens, width, 1, 16, 2), sequences)


FORWARD, BACKWARD = geometry.FORWARD_FILL, geometry.BACKWARD_FILL


def test_sequences_are_rows_unless_tiny_or_few_and_large():
    assert packed(16, 16384, 1536).sequences == 16
    assert packed(256, 24576, 128).sequences == 256
    assert packed(16, 131072, 128).sequences == 16, "cut, as their partial sums are small"
    assert packed(4, 131072, 1536).sequences == 0, "partial sums of dB and dC would be as large as x"
    assert packed(2000, 24576, 128).sequences == 0, "tiles would be mostly empty"
    assert packed(0, 24576, 128).sequences == 0


def test_the_longest_rows_are_cut_into_parts_that_fill_the_gpu():
    cut = rows.pieces(packed(16, 16384, 1536), FORWARD, 132)
    assert (cut.length, cut.fine) == (1664, 832)
    cut = rows.pieces(packed(256, 24576, 128), FORWARD, 132)
    assert (cut.length, cut.fine) == (192, 192)
    for fill in (FORWARD, BACKWARD):  # few rows: as many pieces as dense rows are cut into
        shape = packed(16, 131072, 128)
        dense = geometry.cut(geometry.Shape(1, 131072, 128, 1, 16, 2), *fill, 132)
        cut = rows.pieces(shape, fill, 132)
        assert cut.length == cut.fine and abs(cut.length - dense.length) <= 64
    assert rows.pieces(packed(2, 400, 128), FORWARD, 132).many == 0


def test_no_piece_is_longer_than_what_a_processor_gets_to_do():
    for sequences, tokens, width in ((16, 16384, 1536), (256, 24576, 128), (512, 49152, 512), (64, 2**18, 2048)):
        shape = packed(sequences, tokens, width)
        cut = rows.pieces(shape, BACKWARD, 132)
        assert cut.fine % 64 == 0 and cut.length % cut.fine == 0 and cut.length >= 1.6 * shape.mean
        assert cut.length <= max(1.6 * shape.mean, tokens * shape.blocks / 132 / 6) + 8 * 64
        assert cut.many * cut.length < tokens <= (cut.many + 1) * cut.length
        assert cut.fines * cut.fine < tokens <= (cut.fines + 1) * cut.fine


# With two pretended processors rows fill them and have pieces of 64 or 128 tokens, or 640 in five parts; with next to
# none they stay whole; with 40 they are too few if there are 512 tokens; with 6 for the backward pass only.
UNEVEN, GIANT = (0, 70, 40, 1, 0, 203, 16, 17, 0), (1, 2, 0, 3, 400, 0, 2, 1, 1)
SHAPES = {
    "uneven": partial(cases.arguments, shape=(1, 360, 40, 16), lengths=UNEVEN),
    "giant": partial(cases.arguments, shape=(1, 420, 40, 16), lengths=GIANT),
    "giant_back": partial(cases.arguments, shape=(1, 420, 40, 16), lengths=GIANT, reverse=True),
    "parts": partial(cases.arguments, shape=(1, 1200, 9, 16), lengths=(0, 100, 1, 1000, 90)),
    "parts_back": partial(cases.arguments, shape=(1, 1200, 9, 16), lengths=(0, 100, 1, 1000, 90), reverse=True),
    "hold_back": partial(cases.arguments, shape=(1, 360, 64, 16), lengths=UNEVEN, hold=True, groups=2, reverse=True),
    "odd": partial(cases.arguments, shape=(1, 360, 7, 5), lengths=UNEVEN, views=True),
    "passes": partial(cases.arguments, shape=(1, 360, 40, 33), lengths=UNEVEN),
    "plain": partial(cases.arguments, shape=(1, 347, 40, 16), lengths=UNEVEN, plain=True),
    "few": partial(cases.arguments, shape=(1, 600, 40, 16), lengths=(0, 200, 40, 1, 303)),
    "few_back": partial(cases.arguments, shape=(1, 600, 40, 16), lengths=(0, 200, 40, 1, 303), reverse=True),
    "few_alike": partial(cases.arguments, shape=(1, 640, 40, 16), lengths=(128,) * 5),  # rows begin where numbers end
    "few_alike_back": partial(cases.arguments, shape=(1, 640, 40, 16), lengths=(128,) * 5, reverse=True),
    "empty": partial(cases.arguments, shape=(1, 5, 40, 16), lengths=(0, 0, 0)),
}
QUICK = (
    ("parts_back", torch.float32, 2, False),
    ("uneven", torch.bfloat16, 2, True),
    ("few", torch.float32, 6, False),
    ("few_alike", torch.float32, 40, False),
)
MANY = [
    pytest.param(*given, marks=() if given in QUICK else pytest.mark.slow)
    for name in SHAPES
    for dtype in (torch.float32, torch.bfloat16)
    for processors in (2, 0.1, 6, 40)
    for sparse in (False, True)
    if not (sparse and name == "passes") and (processors < 6 or "few" in name)
    for given in [(name, dtype, processors, sparse)]
]


def scan(x, dt, A, B, C, **options):
    return cuda_scan(x, dt, A, B, C, **{**ABSENT, **options})


def compare(arguments, operation, bound):
    wanted, found = outcome(reference.selective_scan, arguments, torch.float64), outcome(operation, arguments)
    errors = {name: relative(found[name].cpu(), wanted[name].cpu()) for name in wanted}
    assert not {name: error for name, error in errors.items() if not error <= bound}
    return found


@pytest.fixture
def always(monkeypatch):
    """Every packed call walks rows, however short."""
    forget()
    monkeypatch.setattr(rows, "SHORTEST", 0)
    yield
    forget()


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler to build the emulator with")
@pytest.mark.parametrize(("name", "dtype", "processors", "sparse"), MANY)
def test_a_row_a_sequence_in_the_emulator(name, dtype, processors, sparse, always, monkeypatch):
    emulate(monkeypatch, processors=processors)
    monkeypatch.setattr(geometry.Shape, "sparse", property(lambda shape: sparse))
    arguments = SHAPES[name](0, dtype, CPU)
    assert shape_of(arguments["x"], arguments["B"], arguments["cu_seqlens"]).sequences
    found = compare(arguments, scan, BOUND[dtype])
    with thread_order(REVERSE):
        again = outcome(scan, arguments)
    assert all(torch.equal(found[n], again[n]) for n in found)


on_gpu = pytest.mark.gpu
LENGTHS = tuple(int(v) for v in torch.randint(0, 40, (110,), generator=torch.Generator().manual_seed(3)))
ON_GPU = {
    "short": partial(cases.arguments, shape=(1, 2300, 96, 16), lengths=LENGTHS),
    "short_back": partial(cases.arguments, shape=(1, 2300, 96, 16), lengths=LENGTHS, reverse=True),
    "hold": partial(cases.arguments, shape=(1, 2300, 96, 16), lengths=LENGTHS, hold=True, groups=3),
    "odd": partial(cases.arguments, shape=(1, 2300, 75, 5), lengths=LENGTHS, views=True),
    "states": partial(cases.arguments, shape=(1, 2300, 96, 100), lengths=LENGTHS),
    "most_states": partial(cases.arguments, shape=(1, 2300, 96, 256), lengths=LENGTHS, reverse=True),
    "alike": partial(cases.arguments, shape=(1, 1100, 96, 16), lengths=(64,) * 17),
    "giant": partial(cases.arguments, shape=(1, 2300, 96, 16), lengths=(*(1, 0, 3) * 40, 2000, *(2,) * 20)),
    "giant_back": partial(cases.arguments, shape=(1, 2300, 96, 16), lengths=(*(1, 0, 3) * 40, 2000), reverse=True),
}


@on_gpu
@pytest.mark.parametrize("dtype", BOUND, ids=str)
@pytest.mark.parametrize("name", ON_GPU)
def test_a_row_a_sequence_on_a_gpu(name, dtype):
    arguments = ON_GPU[name](1, dtype, torch.device("cuda"))
    assert shape_of(arguments["x"], arguments["B"], arguments["cu_seqlens"]).sequences
    # The sums over a batch of rows are of float32, as are those of dense rows.
    found = compare(arguments, selective_scan, max(BOUND[dtype], 1e-5))
    end = int(arguments["cu_seqlens"][-1])
    assert not any(v[:, end:].any() for n, v in found.items() if n in ("y", "dx", "ddt", "dz", "dB", "dC", "dgaps"))
    for _ in range(3):
        again = outcome(selective_scan, arguments)
        assert all(torch.equal(found[n], again[n]) for n in found)


# (n, T, D, N) and how long: as the benchmark has them, and what a rule for even lengths would fall over.
LARGE = {
    "windows": ((256, 24576, 128, 16), "uneven"),
    "windows_with_a_tail": ((256, 24576, 128, 16), "tail"),
    "giant": ((256, 24576, 128, 16), "giant"),
    "layer": ((16, 16384, 1536, 16), "uneven"),
    "layer_as_it_was": ((8, 16384, 1536, 16), "uneven"),
    "states": ((64, 8192, 256, 64), "uneven"),
    "few": ((16, 32768, 256, 16), "uneven"),
    "one": ((1, 131072, 128, 16), "uneven"),
}


def lengths_of(sequences, tokens, kind):
    if kind == "giant":
        return (*(1,) * (sequences // 2), tokens - sequences, *(1,) * (sequences - 1 - sequences // 2))
    weights = torch.rand(sequences, generator=torch.Generator().manual_seed(5)) ** 2 + 0.01
    return tuple(int(v) for v in weights / weights.sum() * tokens * (0.7 if kind == "tail" else 1))


@on_gpu
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", LARGE)
def test_rows_equal_one_row_with_borders(name, reverse, monkeypatch):
    (sequences, tokens, width, states), kind = LARGE[name]
    device, lengths = torch.device("cuda"), lengths_of(sequences, tokens, kind)
    made = cases.timed(2, torch.float32, device, shape=(1, tokens, width, states), extras=("gaps",))
    made |= {"cu_seqlens": borders(lengths, device), "reverse": reverse}
    made["initial_state"] = torch.randn(sequences, width, states, device=device)
    for n in ("x", "dt", "B", "C", "z", "gaps"):
        made[n][:, sum(lengths) :] = torch.nan
    assert shape_of(made["x"], made["B"], made["cu_seqlens"]).sequences
    found = outcome(selective_scan, made)
    monkeypatch.setattr(rows, "SHORTEST", 2**40)
    forget()
    wanted = outcome(selective_scan, made)
    forget()
    errors = {n: relative(found[n].double(), wanted[n].double()) for n in found}
    assert not {n: e for n, e in errors.items() if not e <= 1e-5}


@on_gpu
def test_nobody_waits_for_lengths():
    made = ON_GPU["short"](4, torch.bfloat16, torch.device("cuda"))
    leaves = {n: v.requires_grad_() for n, v in made.items() if torch.is_tensor(v) and v.is_floating_point()}

    def run():
        y, final = selective_scan(**made)
        return torch.autograd.grad((y, final), list(leaves.values()), (y.detach(), final.detach()))

    run()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_gpu
def test_both_directions_are_two_calls():
    made = ON_GPU["short"](5, torch.float32, torch.device("cuda"))
    given = {n: v for n, v in made.items() if n not in ("initial_state", "reverse")}
    assert unfit(*(given[n] for n in ("x", "dt", "B", "C", "z", "cu_seqlens"))) is not None
    wanted = selective_scan(**given)[0] + selective_scan(**given, reverse=True)[0]
    assert torch.equal(bidirectional_scan(**given), wanted)


@on_gpu
def test_the_operators_say_what_they_give():
    made = ON_GPU["short"](6, torch.float32, torch.device("cuda"))
    tensors = [made[n] for n in ("x", "dt", "A", "B", "C", "D", "z", "dt_bias", "gaps", "initial_state")]
    given = (*[v.nan_to_num().requires_grad_() for v in tensors], made["cu_seqlens"])
    # Not the comparison of traced with eager outputs: of what is saved, places between sequences stay as they were.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(forward_op, (*given, True, False, False, True), test_utils=checks)
    plain = [v.detach() for v in given]
    y, final, saved = forward_op(*plain, True, False, False, True)
    torch.library.opcheck(backward_op, (y, final, *plain, saved, True, False, False, True), test_utils=checks)


@on_gpu
def test_a_compiled_call_equals_eager():
    made = ON_GPU["short"](7, torch.float32, torch.device("cuda"))
    compiled = torch.compile(lambda x: selective_scan(**{**made, "x": x}), fullgraph=True, backend="aot_eager")
    results = []
    for function in (compiled, lambda x: selective_scan(**{**made, "x": x})):
        x = made["x"].detach().requires_grad_()
        y, final = function(x)
        results.append((y, final, torch.autograd.grad(y.sum() + final.sum(), x)[0]))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
