"""What the laws don't say of fusion encoders: absence, trust, exact time, bad input, copies."""

import copy
from dataclasses import replace

import pytest
import torch

from mambats.encoders.fusion import (
    EXCHANGES,
    BidirectionalEventFusion,
    BidirectionalStreamFusion,
    ConcatenationFusion,
    EstimateFusion,
    EventFusion,
    Shared,
    StreamFusion,
)
from mambats.encoders.fusion.absence import drop_streams
from mambats.encoders.fusion.lineup import line_up
from mambats.mixers import MIXERS
from mambats.protocols import Event
from mambats.recipe import describe, rebuild
from mambats.series import SensorRows
from mambats.testing import draw_streams, flatten_state
from mambats.testing.fusion import check_fusion_chunks, check_fusion_steps

STREAMS = {"imu": 2, "gnss": 3, "ask": 0}
SETTINGS = {"width": 6, "layers": 2, "period_ns": 10_000_000, "mixer": MIXERS["mamba"]}
CAUSAL = {
    "event": lambda **more: EventFusion(STREAMS, **SETTINGS, **more),
    "stream": lambda **more: StreamFusion(STREAMS, **SETTINGS, **more),
    "estimate": lambda **more: EstimateFusion(STREAMS, **SETTINGS, **more),
    "concatenation": lambda **more: ConcatenationFusion(STREAMS, clock="imu", **SETTINGS, **more),
}
HOUR = 3_600 * 10**9


def rows(stamps, values):
    """One series of one stream, every row there."""
    stamps = torch.tensor([stamps])
    return SensorRows(values, torch.ones_like(stamps, dtype=torch.bool), torch.ones(stamps.shape), stamps)


@pytest.mark.parametrize("name", CAUSAL)
def test_native_steps_equal_the_parallel_form(name):
    encoder = CAUSAL[name]().eval()
    with torch.no_grad():  # with gradients torch operations step: the laws have seen to those
        check_fusion_steps(encoder, draw_streams(3, STREAMS, rows=9, dtype=torch.float32))
        check_fusion_steps(copy.deepcopy(encoder).double(), draw_streams(3, STREAMS, batch=1, rows=3))


def test_stream_blocks_do_step_natively_and_see_changed_weights():
    encoder = StreamFusion(STREAMS, **SETTINGS).eval()
    given = draw_streams(4, STREAMS, dtype=torch.float32)
    with torch.no_grad():
        check_fusion_steps(encoder, given)
        block = encoder.scans[0]._native[0]
        if block._lane._native._plan is None:
            pytest.skip("the native library is not here")
        for parameter in encoder.parameters():
            parameter.mul_(0.7)
        check_fusion_steps(encoder, given)


# Concatenation forgets all but the last row of a stream between two rows of its clock.
@pytest.mark.parametrize("name", ["event", "stream", "estimate"])
def test_every_stream_reaches_later_tokens_of_every_stream(name):
    torch.manual_seed(1)
    encoder = CAUSAL[name]().eval()
    every = {
        "imu": rows([10, 60], torch.randn(1, 2, 2)),
        "gnss": rows([20, 50], torch.randn(1, 2, 3)),
        "ask": rows([30, 70], torch.zeros(1, 2, 0)),
    }
    first, _ = encoder(every, 100)
    for source in ("imu", "gnss"):
        values = every[source].values + torch.tensor([[[1.0], [0.0]]])
        changed = {**every, source: replace(every[source], values=values)}
        second, _ = encoder(changed, 100)
        for target in every:
            assert (first[target] - second[target])[0, 1].abs().max() > 1e-6, (source, target)


@pytest.mark.parametrize("name", CAUSAL)
def test_hours_without_a_row_and_equal_stamps_give_numbers(name):
    encoder = CAUSAL[name]().eval()
    given = {"imu": rows([0, 1, 5 * HOUR, 5 * HOUR], torch.randn(1, 4, 2)), "gnss": rows([1], torch.randn(1, 1, 3))}
    tokens, state = encoder(given, 6 * HOUR)
    assert all(torch.isfinite(token).all() for token in tokens.values())
    assert state.clock.since.tolist() == [[HOUR, 6 * HOUR - 1, 0]] and state.clock.fresh.tolist() == [
        [False, False, True]
    ]
    _, state = encoder.step({"gnss": Event(torch.randn(1, 3))}, torch.tensor([24 * HOUR]), state=state)
    assert state.clock.since.tolist() == [[25 * HOUR, 0, 0]]
    assert all(torch.isfinite(leaf).all() for leaf in flatten_state(state).values())


def test_time_matters():
    for build in CAUSAL.values():
        torch.manual_seed(0)
        encoder = build().eval()
        imu = torch.randn(1, 3, 2)
        late = encoder({"imu": rows([10**7, 2 * 10**7, 10**9], imu)}, 10**9)[0]["imu"]
        soon = encoder({"imu": rows([10**7, 2 * 10**7, 3 * 10**7], imu)}, 10**9)[0]["imu"]
        assert torch.equal(late[:, :2], soon[:, :2]) and not torch.allclose(late[:, 2], soon[:, 2])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_dropped_streams_are_whole_never_all_and_as_often_as_asked(share):
    torch.manual_seed(0)
    given = draw_streams(0, {"a": 1, "b": 2, "c": 1, "ask": 0}, batch=2000, rows=9, kept=0.6)
    every = tuple(given.rows.values())
    left = drop_streams(every, share)
    assert torch.equal(left[3].mask, every[3].mask), "a stream that only asks stays"
    whole = [(after.mask == before.mask).all(1) | ~after.mask.any(1) for before, after in zip(every, left, strict=True)]
    assert all(flags.all() for flags in whole), "a stream is there or not"
    had, has = (torch.stack([stream.mask.any(1) for stream in streams[:3]], 1) for streams in (every, left))
    assert torch.equal(has.any(1), had.any(1)), "never all that there is"
    # Of three streams one is kept at least: the chance to be removed is share - share^3 / 3.
    three = had.all(1)
    assert (~has[three]).float().mean().item() == pytest.approx(share - share**3 / 3, abs=0.03)


def test_stream_dropout_is_drawn_in_training_only_and_from_torchs_seed():
    for build in CAUSAL.values():
        encoder = build(stream_dropout=0.5)
        given = draw_streams(0, STREAMS, batch=8, dtype=torch.float32)

        def once(seed, encoder=encoder, given=given):
            torch.manual_seed(seed)
            return given.forward(encoder)[0]["imu"]

        assert torch.equal(once(0), once(0)) and not torch.equal(once(0), once(1))
        encoder.eval()
        assert torch.equal(once(0), once(1))


@pytest.mark.parametrize("name", EXCHANGES)
def test_reliability_is_zero_for_what_was_not_heard_and_between_0_and_1(name):
    encoder = StreamFusion(STREAMS, **SETTINGS, exchange=EXCHANGES[name]).eval()
    given = draw_streams(5, STREAMS, dtype=torch.float32)
    trust = encoder.reliability(given.without("gnss").rows, given.length_ns)
    assert list(trust) == ["imu", "ask"]
    for stream, weights in trust.items():
        mask = given.rows[stream].mask
        assert weights.shape == (*mask.shape, 3) and weights.min() >= 0 and weights.max() <= 1 + 1e-6
        assert not weights[~mask].any() and not weights[..., 1].any(), "masked rows, and the stream that is missing"
        own = list(STREAMS).index(stream)
        assert (weights[mask][:, own] > 0).all()


def test_shares_of_estimates_are_shares_of_precision_and_fade_with_age():
    torch.manual_seed(2)
    encoder = EstimateFusion(STREAMS, **SETTINGS).eval()
    ask = [10**7 * k for k in (2, 10, 100, 1000)]
    given = {"imu": rows([10**7], torch.randn(1, 1, 2)), "ask": rows(ask, torch.zeros(1, 4, 0))}
    shares = encoder.reliability(given, 10**10)["ask"][0]
    assert (shares.sum(1) < 1).all() and not shares[:, 1:].any(), "the rest is the prior's; who only asks has no share"
    assert (shares[:, 0].diff() < 0).all() and shares[0, 0] > 3 * shares[3, 0]


def test_reliability_goes_on_from_a_state():
    encoder = StreamFusion(STREAMS, **SETTINGS).eval()
    given = draw_streams(6, STREAMS, dtype=torch.float32)
    whole = encoder.reliability(given.rows, given.length_ns)["imu"]
    half = given.length_ns // 2
    first, second = given.between(0, half), given.between(half, given.length_ns)
    _, state = first.forward(encoder)
    parts = [encoder.reliability(first.rows, half)["imu"], encoder.reliability(second.rows, half, state=state)["imu"]]
    torch.testing.assert_close(parts[0] + parts[1], whole)


@pytest.mark.parametrize("name", [*CAUSAL, *EXCHANGES])
def test_a_checkpoint_rebuilds_the_same_encoder(name):
    torch.manual_seed(0)
    encoder = CAUSAL[name]() if name in CAUSAL else StreamFusion(STREAMS, **SETTINGS, exchange=EXCHANGES[name])
    again = rebuild(describe(encoder))
    again.load_state_dict(encoder.state_dict())
    given = draw_streams(2, STREAMS, dtype=torch.float32)
    expected, got = given.forward(encoder)[0], given.forward(again)[0]
    assert all(torch.equal(got[stream], token) for stream, token in expected.items())


def test_streams_share_parameters_where_told_and_rates_always():
    own, shared = (StreamFusion(STREAMS, 8, 2, period_ns=1, mixer=mixer) for mixer in (None, Shared()))
    assert len(own.scans[0].blocks) == 3 and len(shared.scans[0].blocks) == 1
    rates = {id(block.mixer.A_log) for block in own.scans[0].blocks}
    assert len(rates) == 1, "one scan of all streams needs the same rates"
    assert len({id(block.mixer.dt_bias) for block in own.scans[0].blocks}) == 3
    again = copy.deepcopy(own)
    again.load_state_dict(own.state_dict())
    assert len({id(block.mixer.A_log) for block in again.scans[0].blocks}) == 1


@pytest.mark.parametrize("name", [*CAUSAL, *EXCHANGES])
def test_every_parameter_learns(name):
    torch.manual_seed(0)
    encoder = CAUSAL[name]() if name in CAUSAL else StreamFusion(STREAMS, **SETTINGS, exchange=EXCHANGES[name])
    tokens, _ = draw_streams(1, STREAMS, batch=4, rows=12, dtype=torch.float32).forward(encoder)
    sum((token - 1).square().sum() for token in tokens.values()).backward()
    dead = [n for n, p in encoder.named_parameters() if p.numel() and (p.grad is None or not p.grad.any())]
    if name == "estimate":  # a stream that only asks (the third) has no estimate of its own
        dead = [n for n in dead if ".2." not in n]
    assert not dead


@pytest.mark.parametrize("name", CAUSAL)
def test_a_window_without_any_row_is_the_prior(name):
    encoder = CAUSAL[name]().eval()
    given = draw_streams(0, STREAMS, dtype=torch.float32)
    dark = given.each(lambda r: replace(r, mask=torch.zeros_like(r.mask)))
    tokens, state = dark.forward(encoder)
    assert not any(token.any() for token in tokens.values())
    start = flatten_state(encoder.init_state(3))
    assert all(torch.equal(leaf, start[path]) for path, leaf in flatten_state(state).items())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EventFusion({}, **SETTINGS), "at least one stream"),
        (lambda: EventFusion({"ask": 0}, **SETTINGS), "at least one stream"),
        (lambda: StreamFusion({"a": -1}, **SETTINGS), "channels by name"),
        (lambda: StreamFusion({"a": 1}, 8, 0, period_ns=1), "layers 0"),
        (lambda: StreamFusion({"a": 1}, 8, 1, period_ns=0), "period_ns 0"),
        (lambda: EstimateFusion(STREAMS, **SETTINGS, dropout=1.0), "dropout is 1.0"),
        (lambda: EventFusion(STREAMS, **SETTINGS, stream_dropout=-0.1), "stream_dropout"),
        (lambda: ConcatenationFusion(STREAMS, clock="lidar", **SETTINGS), "clock is 'lidar'"),
        (lambda: BidirectionalEventFusion(STREAMS, **SETTINGS, lookahead=0.0), "lookahead is 0.0"),
        (lambda: BidirectionalStreamFusion(STREAMS, **SETTINGS, lookahead=float("nan")), "lookahead is nan"),
    ],
)
def test_sizes_that_make_no_encoder_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": torch.zeros(1, 2, 4, 2)}, "feature extractor"),
        ({"values": torch.zeros(1, 2, 2, dtype=torch.int64)}, "float dtype"),
        ({"mask": torch.ones(1, 2)}, "mask of torch.float32"),
        ({"stamps": torch.zeros(1, 2)}, "stamps of torch.float32"),
        ({"stamps": torch.tensor([[5, 4]])}, "falls"),
        ({"stamps": torch.tensor([[5, 101]])}, "outside the window"),
        ({"observed": torch.ones(1, 2, 1, dtype=torch.bool)}, "observed"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_what_to_do(change, message):
    encoder = EventFusion(STREAMS, **SETTINGS)
    good = rows([4, 5], torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match=message):
        encoder({"imu": replace(good, **change)}, 100)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_nan_in_one_modality_is_refused_unless_said_to_be_absent(name):
    encoder = CAUSAL[name]().eval()
    values = torch.tensor([[[1.0, float("nan")], [2.0, 3.0]]])
    bad = rows([4, 5], values)
    with pytest.raises(ValueError, match=r"imu has 1 observed values .* first at \(0, 0, 1\)"):
        encoder({"imu": bad}, 100)
    with pytest.raises(ValueError, match="observed False"):
        encoder.step({"imu": Event(values[:, 0])}, torch.tensor([4]), state=encoder.init_state(1))
    said = replace(bad, observed=~values.isnan())
    tokens, state = encoder({"imu": said}, 100)
    stepped, _ = encoder.step({"imu": Event(values[:, 0], said.observed[:, 0])}, torch.tensor([4]), state=state)
    assert torch.isfinite(tokens["imu"]).all() and torch.isfinite(stepped["imu"]).all()


def test_numbers_whose_sum_overflows_are_numbers():
    huge = rows([4, 5], torch.full((1, 2, 2), 3e38))
    assert torch.equal(line_up(STREAMS, {"imu": huge}, 100, torch.zeros(1), None)[0].values, huge.values)


def test_batches_that_differ_and_negative_lengths_are_refused():
    encoder = EventFusion(STREAMS, **SETTINGS)
    good = rows([4, 5], torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="batch 1, the state or another stream 2"):
        encoder({"imu": good}, 100, state=encoder.init_state(2))
    with pytest.raises(ValueError, match="length_ns is -1"):
        encoder({"imu": good}, -1)
    with pytest.raises(ValueError, match="one row for each row of the state"):
        encoder.step({"imu": Event(torch.zeros(1, 2))}, torch.tensor([1, 1]), state=encoder.init_state(2))


@pytest.mark.parametrize("name", CAUSAL)
def test_stamps_of_masked_rows_are_not_read(name):
    encoder = CAUSAL[name]().eval()
    given = draw_streams(7, STREAMS, dtype=torch.float32)
    expected, _ = given.forward(encoder)
    for least in (-(2**40), -(2**63), 2**63 - 1):
        wild = given.each(lambda r, least=least: replace(r, stamps=torch.where(r.mask, r.stamps, least)))
        got, _ = wild.forward(encoder)
        assert all(torch.equal(got[name], token) for name, token in expected.items())
        sum(token.sum() for token in got.values()).backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in encoder.parameters())
    check_fusion_chunks(encoder, given, [10**8])


@pytest.mark.gpu
@pytest.mark.parametrize("name", CAUSAL)
def test_a_gpu_is_never_waited_for_and_gives_the_same(name):
    encoder = CAUSAL[name]().eval()
    given = draw_streams(8, STREAMS, dtype=torch.float32)
    expected, _ = given.forward(encoder)
    encoder, there = encoder.cuda(), given.each(lambda r: r.to("cuda"))
    _, state = there.forward(encoder)  # kernels are built before the watch begins
    torch.cuda.set_sync_debug_mode("error")
    try:
        tokens, _ = there.forward(encoder)
        there.forward(encoder, state)
        sum(token.square().sum() for token in tokens.values()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for stream, token in expected.items():
        torch.testing.assert_close(tokens[stream].cpu(), token, rtol=1e-4, atol=1e-4)
