"""What is special about each encoder, and what each refuses."""

import pytest
import torch

from mambats.encoders import ENCODERS, BidirectionalEncoder, CausalEncoder, NotCausalError
from mambats.encoders.embed import Embedding, log_gap
from mambats.mixers import MambaSettings
from mambats.recipe import describe, rebuild

SMALL = MambaSettings(state_size=2)


@pytest.mark.parametrize("name", ENCODERS)
def test_can_be_written_down_and_rebuilt(name):
    encoder = ENCODERS[name](2, 4)
    again = rebuild(describe(encoder))
    assert describe(again) == describe(encoder)
    again.load_state_dict(encoder.state_dict())


@pytest.mark.parametrize("name", ENCODERS)
def test_flags_and_gaps_do_not_change_the_set_of_parameters_in_use(name):
    # Data-parallel training stops at a parameter without gradient.
    encoder = ENCODERS[name](2, 4)
    encoder(torch.randn(2, 5, 2))[0].square().sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize(
    "name",
    ["causal", *(pytest.param(name, marks=pytest.mark.slow) for name in ENCODERS if name != "causal")],
)
def test_compiles_without_a_break_and_without_waiting_for_values(name):
    encoder = ENCODERS[name](2, 4).eval()
    x, gaps, mask = torch.randn(2, 5, 2), torch.rand(2, 5), torch.rand(2, 5) < 0.6
    fast = torch.compile(encoder, fullgraph=True, backend="eager")
    torch.testing.assert_close(fast(x, gaps, mask=mask)[0], encoder(x, gaps, mask=mask)[0])


def test_without_mixer_nothing_of_the_past_is_left():
    encoder = CausalEncoder(1, 4, 3, mixer=SMALL, no_mixer=True)
    assert not any("mixer" in name for name, _ in encoder.named_parameters())
    x = torch.randn(1, 6, 1)
    y, state = encoder(x)
    torch.testing.assert_close(encoder(x[:, 3:])[0], y[:, 3:])
    assert state.layers == ()


def test_every_part_of_a_row_counts():
    embed = Embedding(2, 3)
    x, seen = torch.randn(1, 4, 2), torch.ones(1, 4, 2, dtype=torch.bool)
    seen[0, 1, 0] = False
    plain = embed(x)
    assert (embed(x, torch.full((1, 4), 3.0)) != plain).all()
    partly = embed(x, observed=seen)
    assert (partly[0, 1] != plain[0, 1]).any() and torch.equal(partly[0, [0, 2, 3]], plain[0, [0, 2, 3]])
    zero = torch.where(seen, x, torch.zeros_like(x))
    assert (embed(zero)[0, 1] != partly[0, 1]).any()  # an absent value is not a measured zero
    assert log_gap(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([-0.6931472, 0.0])


@pytest.mark.parametrize("length", [4, 8, 11])
@pytest.mark.parametrize("tied", [True, False])
def test_what_follows_a_block_never_changes_what_stands_before_it(length, tied):
    encoder = BidirectionalEncoder(1, 4, 3, mixer=SMALL, tied=tied, lookahead=4).double().eval()
    x, gaps = torch.randn(2, 13, 1).double(), torch.rand(2, 13).double()
    whole, _ = encoder(x, gaps)
    known = length - length % 4
    torch.testing.assert_close(encoder(x[:, :length], gaps[:, :length])[0][:, :known], whole[:, :known])
    # And it does read ahead within the block.
    x[:, 7] += 1
    changed, _ = encoder(x, gaps)
    assert torch.equal(changed[:, :4], whole[:, :4]) and (changed[:, 4] != whole[:, 4]).any()


def test_lookahead_packed_equals_dense_at_lengths_that_do_not_divide():
    encoder = BidirectionalEncoder(1, 4, 2, mixer=SMALL, lookahead=3).double().eval()
    x, gaps = torch.randn(2, 8, 1).double(), torch.rand(2, 8).double()
    packed, _ = encoder(x, gaps, mask=torch.ones(2, 8, dtype=torch.bool))
    torch.testing.assert_close(packed, encoder(x, gaps)[0])


def test_tied_directions_share_their_weights():
    both = [
        sum(p.numel() for p in BidirectionalEncoder(1, 8, 1, tied=tied).blocks.parameters()) for tied in (True, False)
    ]
    assert both[1] - 8 == 2 * (both[0] - 8)  # all but the norm


def test_dropout_is_at_work_in_training_only():
    encoder, x = CausalEncoder(1, 8, 1, mixer=SMALL, dropout=0.5), torch.randn(1, 5, 1)
    assert not torch.equal(encoder(x)[0], encoder(x)[0])
    encoder.eval()
    assert torch.equal(encoder(x)[0], encoder(x)[0])


def test_reading_ahead_refuses_to_run_row_by_row():
    encoder = BidirectionalEncoder(1, 4, 1, mixer=SMALL, lookahead=5)
    with pytest.raises(NotCausalError, match="blocks of 5 rows both ways and cannot step"):
        encoder.step(torch.randn(1, 1), state=None)
    with pytest.raises(NotCausalError, match="takes no state"):
        encoder(torch.randn(1, 3, 1), state=())
    assert encoder.init_state(3) is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e, x: e(x[..., :1]), r"x has shape \(2, 5, 1\): this encoder reads 2 channels"),
        (lambda e, x: e(x.int()), "x has dtype torch.int32: need a float dtype"),
        (lambda e, x: e(x, torch.ones(2, 4)), r"gaps has shape \(2, 4\), x \(2, 5, 2\): need \(2, 5\)"),
        (
            lambda e, x: e(x, observed=torch.ones(2, 5, dtype=torch.bool)),
            r"observed has shape \(2, 5\).*need \(2, 5, 2\)",
        ),
        (lambda e, x: e(x, mask=torch.ones(2, 5)), "mask has dtype torch.float32: need torch.bool"),
        (lambda e, x: e(x, state=e.init_state(3)), "x has batch 2, the state 3"),
        (lambda e, x: e.step(x[:, 0], state=e.init_state(1)), "x has batch 2, the state 1"),
        (lambda e, x: e.step(x[:, 0], torch.ones(3), state=e.init_state(2)), r"gaps has shape \(3,\)"),
        (lambda e, x: e(x[0]), r"x has shape \(5, 2\): need \(B, T, 2\)"),
        (lambda e, x: e.step(x, state=e.init_state(2)), r"x has shape \(2, 5, 2\): need \(B, 2\)"),
    ],
)
def test_bad_rows_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(CausalEncoder(2, 4, 1, mixer=SMALL), torch.randn(2, 5, 2))


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="layers 0"):
        CausalEncoder(1, 4, 0)
    with pytest.raises(ValueError, match=r"dropout 1\.0"):
        BidirectionalEncoder(1, 4, 1, dropout=1.0)
    with pytest.raises(ValueError, match=r"lookahead is 0: .* CausalEncoder"):
        BidirectionalEncoder(1, 4, 1, lookahead=0)


def test_a_long_run_carries_its_state_without_drift():
    encoder = CausalEncoder(1, 8, 2, mixer=SMALL).eval()
    x = torch.randn(1, 3000, 1)
    with torch.inference_mode():
        whole, _ = encoder(x)
        state, last = encoder.init_state(1), None
        for chunk in x.split(500, 1):
            last, state = encoder(chunk, state=state)
    assert (last - whole[:, -500:]).abs().max() < 1e-5 * whole.abs().max()


class Step(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x, gap, observed, mask, state):
        return self.encoder.step(x, gap, observed_t=observed, mask_t=mask, state=state)


@pytest.mark.slow
def test_a_step_exports_with_its_state_as_inputs_and_outputs():
    encoder = CausalEncoder(2, 4, 2, mixer=SMALL).eval()
    flags = torch.ones(1, 2, dtype=torch.bool)
    row = (torch.randn(1, 2), torch.ones(1), flags, flags[:, 0], encoder.init_state(1))
    program = torch.export.export(Step(encoder), row)
    y, state = program.module()(*row)
    expected, after = Step(encoder)(*row)
    assert torch.equal(y, expected) and torch.equal(state.layers[1].ssm, after.layers[1].ssm)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ENCODERS)
def test_absent_rows_are_taken_out_without_waiting_for_the_device(name):
    encoder = ENCODERS[name](2, 8).cuda()
    x, gaps, mask = (v.cuda() for v in (torch.randn(2, 33, 2), torch.rand(2, 33), torch.rand(2, 33) < 0.6))
    encoder(x, gaps, mask=mask)[0].sum().backward()  # kernels are built on first use, and that may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        encoder(x, gaps, mask=mask)[0].sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("encoder", [CausalEncoder, BidirectionalEncoder])
def test_autocast_leaves_the_residual_stream_in_float32(encoder):
    model, seen = encoder(3, 8, 2), []
    for block in model.blocks:
        block.norm.register_forward_hook(lambda _, given, made: seen.extend((given[0].dtype, made.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randn(2, 5, 3))
    assert set(seen) == {torch.float32}
