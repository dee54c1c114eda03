import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambats.anomaly import (
    Detector,
    ForecastError,
    GaussianHead,
    Members,
    QuantileHead,
    Reconstruction,
    Rows,
    RunningCalibration,
    StreamingError,
)
from mambats.anomaly.detector import rings, whole_series
from mambats.encoders import BidirectionalEncoder, CausalEncoder
from mambats.recipe import describe, rebuild
from mambats.scale import RunningNorm

HEADS = {
    "z": lambda c: GaussianHead(8, c),
    "nll": lambda c: GaussianHead(8, c, score="nll"),
    "quantiles": lambda c: QuantileHead(8, c),
}


def detector(head="quantiles", channels=2, smooth=3.0, horizons=(1, 3, 7), members=2):
    made = HEADS[head](channels * len(horizons))
    scorer = ForecastError(CausalEncoder(channels, 8, 1), made, RunningNorm(40.0, 10.0), 4, horizons)
    lasting = RunningCalibration(50.0, 4 * smooth)
    return Detector(Members(scorer, members), RunningCalibration(50.0, smooth), 1.0, lasting, 2).double().eval()


def some_rows(batch=2, length=37, channels=2, holes=True):
    values = torch.randn(batch, length, channels, dtype=torch.float64).cumsum(1)
    observed = torch.rand(batch, length, channels) > 0.2 if holes else None
    gaps = torch.rand(batch, length, dtype=torch.float64) + 0.5
    return Rows(values if observed is None else values * observed, gaps, observed)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("holes", [True, False])
@torch.no_grad()
def test_row_by_row_is_the_same_as_all_at_once(head, holes):
    model, rows = detector(head), some_rows(holes=holes)
    whole, end = model(rows)
    state, scores = model.init_state(2), []
    for row in range(37):
        found, state = model.step(rows.part(row, row + 1), state)
        scores.append(found.score)
    torch.testing.assert_close(torch.cat(scores, 1), whole.score, rtol=0, atol=1e-9)
    for one, other in zip(state.scorer, end.scorer, strict=True):
        torch.testing.assert_close(one.expected, other.expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(state.memory.calibration.long, end.memory.calibration.long, rtol=0, atol=1e-9)
    torch.testing.assert_close(state.memory.lasting.long, end.memory.lasting.long, rtol=0, atol=1e-9)
    assert torch.equal(state.memory.quiet, end.memory.quiet)


@settings(max_examples=8)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.sampled_from(sorted(HEADS)))
@torch.no_grad()
def test_any_chunking_gives_the_same(sizes, head):
    torch.manual_seed(len(sizes))
    model, rows = detector(head), some_rows(length=sum(sizes) + 3)
    whole, _ = model(rows)
    state, begin, parts = model.init_state(2), 0, []
    for size in [*sizes, 3]:
        found, state = model(rows.part(begin, begin + size), state)
        parts.append(found)
        begin += size
    torch.testing.assert_close(torch.cat([p.score for p in parts], 1), whole.score, rtol=0, atol=1e-9)
    torch.testing.assert_close(torch.cat([p.lasting for p in parts], 1), whole.lasting, rtol=0, atol=1e-9)
    assert torch.equal(torch.cat([p.alarm for p in parts], 1), whole.alarm)
    assert torch.equal(torch.cat([p.event for p in parts], 1), whole.event)
    torch.testing.assert_close(whole_series(model, rows, chunk=5).score, whole.score, rtol=0, atol=1e-9)


@torch.no_grad()
def test_a_later_row_changes_no_earlier_score_and_its_own_expectation():
    model, rows = detector(), some_rows()
    changed = rows.values.clone()
    changed[:, 20] += 5.0
    one, other = model(rows)[0], model(rows._replace(values=changed))[0]
    assert torch.equal(one.score[:, :20], other.score[:, :20]) and torch.equal(one.alarm[:, :20], other.alarm[:, :20])
    torch.testing.assert_close(one.surprise.low[:, :21], other.surprise.low[:, :21], equal_nan=True)
    assert not torch.equal(one.score[:, 20], other.score[:, 20])


@torch.no_grad()
def test_each_horizon_judges_by_what_was_expected_so_many_rows_before():
    """By hand: the head's output of row t - h, block h, against row t; the mean over what was expected already."""
    model, rows = detector(members=1).scorer.scorer, some_rows(1, 20, holes=False)
    location, scale, _ = model.running(rows.values, rows.gaps, None, model.running.init_state(1, 2))
    tokens, _ = model.encoder((rows.values - location) / scale, rows.gaps)
    said = model.head(tokens, rows.values.repeat(1, 1, 3), scale.repeat(1, 1, 3)).unflatten(2, (3, 2))
    found = model(rows)[0].score[0]
    for t in range(20):
        each = []
        for k, horizon in enumerate(model.horizons):
            if t >= horizon:
                middle = said[0, t - horizon, k]
                each.append(model.head.surprise(middle[None, None], rows.values[:, t : t + 1]).mean())
        assert found[t].item() == pytest.approx(float(torch.stack(each).mean()) if each else 0.0, rel=1e-6)


@torch.no_grad()
def test_far_horizons_see_the_inside_of_a_shifted_stretch():
    """Even the last-value forecast: one row ahead only the edges differ from it, seven ahead seven rows do."""
    shares = []
    for horizons in ((1,), (7,)):
        scorer = ForecastError(CausalEncoder(1, 8, 1), QuantileHead(8, 1), RunningNorm(200.0), horizons=horizons)
        scorer.head.project.weight.zero_()
        scorer.head.project.bias.zero_()
        values = 0.01 * torch.randn(1, 300, 1)
        values[:, 250:260] += 3.0
        score = scorer.eval()(Rows(values))[0].score[0]
        shares.append(int((score[250:260] > 2).sum()))
    assert shares == [1, 7]


@torch.no_grad()
def test_members_differ_and_their_surprises_are_averaged():
    model, rows = detector(members=3).scorer, some_rows()
    each = [member(rows)[0] for member in (model.scorer, *model.others)]
    assert not torch.allclose(each[0].score, each[1].score)
    found = model(rows)[0]
    torch.testing.assert_close(found.score, sum(one.score for one in each) / 3)
    torch.testing.assert_close(found.low, sum(one.low for one in each) / 3, equal_nan=True)


@torch.no_grad()
def test_scores_do_not_depend_on_the_unit_of_the_model_state():
    """After the normaliser has forgotten its start, a series times ten is as surprising as the series."""
    for head in HEADS:
        scorer = (
            ForecastError(CausalEncoder(1, 8, 1), HEADS[head](1), RunningNorm(10.0, 1.0, eps=1e-12)).double().eval()
        )
        rows = some_rows(1, 400, 1, holes=False)
        one, ten = scorer(rows)[0].score, scorer(rows._replace(values=10 * rows.values))[0].score
        torch.testing.assert_close(ten[:, 350:], one[:, 350:], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_what_was_not_measured_is_no_anomaly_and_nothing_is_expected_of_the_first_row():
    model, rows = detector(), some_rows()
    observed = rows.observed.clone()
    observed[:, 30] = False
    found, _ = model(Rows(rows.values * observed, rows.gaps, observed))
    assert (found.surprise.score[:, [0, 30]] == 0).all() and (found.score[:, 30] == 0).all()
    assert found.surprise.low[:, 0].isnan().all() and found.surprise.low[:, 1:].isfinite().all()


@pytest.mark.parametrize("head", HEADS)
def test_a_spike_in_a_learned_wave_stands_out(head):
    scorer = ForecastError(CausalEncoder(1, 8, 1), HEADS[head](1), RunningNorm(50.0, 20.0), warm=16)
    wave = torch.sin(torch.arange(600) * 0.5)[None, :, None] + 0.05 * torch.randn(1, 600, 1)
    optimiser = torch.optim.AdamW(scorer.parameters(), lr=1e-2)
    for _ in range(40):
        start = int(torch.randint(0, 200, ()))
        loss = scorer.loss(Rows(wave[:, start : start + 96]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    broken = wave.clone()
    broken[0, 500] += 1.5  # within the range of the wave: no threshold on the value finds it
    with torch.no_grad():
        found = Detector(scorer.eval()).eval()(Rows(broken))[0]
    assert found.score[0, 300:].argmax() in (200, 201)
    assert found.alarm[0, 500:502].any()
    if head != "nll":  # which is 0 wherever the model is surer than the running deviation: coarse
        assert not found.alarm[0, 300:500].any()


def test_heads_score_a_normal_alike():
    """Where quantiles are those of a normal, both heads say |z|."""
    values = torch.linspace(-3, 3, 7).view(1, 7, 1)
    gaussian = torch.tensor([0.0, 1.0]).expand(1, 7, 1, 2)
    quantile = torch.special.ndtri(torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])).expand(1, 7, 1, 5)
    found = [GaussianHead(4, 1).surprise(gaussian, values), QuantileHead(4, 1).surprise(quantile, values)]
    torch.testing.assert_close(found[0], values.abs())
    torch.testing.assert_close(found[1], values.abs())
    assert QuantileHead(4, 1).interval(quantile)[1][0, 0, 0].item() == pytest.approx(1.6449, abs=1e-3)


def test_quantiles_never_cross():
    head = QuantileHead(8, 3)
    out = head(10 * torch.randn(2, 5, 8), torch.randn(2, 5, 3), torch.rand(2, 5, 3))
    assert (out.diff(dim=-1) >= 0).all()


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 5), st.integers(0, 6))
def test_an_alarm_rings_once_after_a_rest(reached, rest, quiet):
    found, event, after = rings(torch.tensor([reached]), rest, torch.tensor([quiet]))
    for row, hit in enumerate(reached):
        assert found[0, row] == (hit and quiet >= rest)
        quiet = 0 if hit else quiet + 1
        assert event[0, row] == (quiet <= rest)
    assert int(after) == quiet


def test_the_lasting_score_sees_many_small_surprises_and_the_row_s_own_a_single_one():
    surprise = torch.randn(1, 3000).abs()
    surprise[0, 1500] += 6.0
    surprise[0, 2400:2500] += 0.8
    scorer = ForecastError(CausalEncoder(1, 8, 1), QuantileHead(8, 1))
    model = Detector(scorer, RunningCalibration(2000.0), lasting=RunningCalibration(2000.0, 50.0), rest=100)
    found, _ = model.judge(surprise, torch.ones(1, 3000, dtype=torch.bool))
    assert found.score.argmax() == 1500 and found.alarm[0].nonzero()[:, 0].tolist() == [1500]
    assert 2400 < found.lasting.argmax() < 2600 and found.lasting[0, 2480] > 3 > found.lasting[0, 1500:1600].max()


# --- calibration


def test_the_threshold_comes_from_the_past_only():
    surprise = torch.rand(1, 300, dtype=torch.float64)
    running = RunningCalibration(100.0, smooth=4.0)
    scores = running(surprise)[0]
    surprise[0, 200] = 50.0
    changed = running(surprise)[0]
    assert torch.equal(scores[:, :200], changed[:, :200]) and changed[0, 200] > scores[0, 200] + 2


def test_calibration_by_a_loop():
    surprise, seen = torch.rand(1, 40, dtype=torch.float64), torch.rand(1, 40) > 0.3
    found = RunningCalibration(20.0, smooth=3.0, weight=10.0)(surprise, seen)[0][0]
    long, short = [10.0, 6.0, 10 * (0.16 + 0.36)], [0.0, 0.0]
    for row in range(40):
        present, value = float(seen[0, row]), float(surprise[0, row].log1p())
        short = [s * 0.5 ** (1 / 3) + present * add for s, add in zip(short, (1.0, value), strict=True)]
        mean = short[1] / short[0] if short[0] else 0.0
        centre = long[1] / long[0]
        deviation = max(long[2] / long[0] - centre**2, 0.02**2) ** 0.5
        assert found[row].item() == pytest.approx((mean - centre) / deviation if present else 0.0)
        long = [s * 0.5 ** (1 / 20) + present * add for s, add in zip(long, (1.0, mean, mean**2), strict=True)]


def test_false_alarms_of_normal_surprises_are_rare():
    surprise = torch.randn(2, 12_000).abs()
    scores = RunningCalibration(2000.0, smooth=5.0)(surprise)[0]
    assert (scores[:, 1000:] >= 4.26).double().mean() < 5e-4
    assert scores[:, 5000:].std().item() == pytest.approx(1.0, abs=0.1)


def test_bad_surprises_and_settings_are_refused():
    with pytest.raises(ValueError, match="negative or NaN"):
        RunningCalibration()(torch.tensor([[0.1, float("nan")]]))
    with pytest.raises(ValueError, match=r"needed \(B, T\)"):
        RunningCalibration()(torch.zeros(3))
    with pytest.raises(ValueError, match="half_life is 0"):
        RunningCalibration(0.0)


# --- reconstruction


def reconstruction(window=32, block=2, passes=4):
    encoder = BidirectionalEncoder(2, 8, 1)
    return Reconstruction(encoder, QuantileHead(8, 2), window, block, passes).double().eval()


@torch.no_grad()
def test_every_row_is_scored_and_never_seen_by_its_own_expectation():
    model, rows = reconstruction(), some_rows(1, 50)
    found, state = model(rows)
    assert state is None and found.score.shape == (1, 50) and found.low.isfinite().all()
    for row in (0, 13, 33, 49):
        changed = rows.values.clone()
        changed[:, row] += 3.0
        other, _ = model(rows._replace(values=changed))
        torch.testing.assert_close(other.low[:, row], found.low[:, row])
    assert reconstruction()(some_rows(1, 5))[0].score.shape == (1, 5)  # shorter than a window


def test_a_reconstruction_refuses_to_stream():
    model = Detector(reconstruction())
    with pytest.raises(StreamingError, match="reads ahead"):
        model.init_state(1)
    with pytest.raises(StreamingError, match="reads ahead"):
        Members(reconstruction(), 2).init_state(1)
    with pytest.raises(StreamingError, match="reads ahead"):
        model.scorer.step(some_rows(1, 1), None)
    with pytest.raises(StreamingError, match="no state"):
        model.scorer(some_rows(1, 5), ())


def test_reconstruction_learns_to_fill_in():
    model = Reconstruction(BidirectionalEncoder(1, 8, 1), QuantileHead(8, 1), 64, 2, 4)
    wave = torch.sin(torch.arange(400) * 0.5)[None, :, None]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        start = int(torch.randint(0, 300, ()))
        losses.append(model.loss(Rows(wave[:, start : start + 64])))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


# --- doors


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="set both alike"):
        ForecastError(CausalEncoder(1, 8, 1), QuantileHead(8, 2))
    with pytest.raises(ValueError, match="reads ahead"):
        ForecastError(BidirectionalEncoder(1, 8, 1), QuantileHead(8, 1))
    with pytest.raises(ValueError, match="rising from 1"):
        ForecastError(CausalEncoder(1, 8, 1), QuantileHead(8, 2), horizons=(4, 4))
    with pytest.raises(ValueError, match="times the 2 horizons"):
        ForecastError(CausalEncoder(1, 8, 1), QuantileHead(8, 1), horizons=(1, 4))
    with pytest.raises(ValueError, match="rest is -1"):
        Detector(reconstruction(), rest=-1)
    with pytest.raises(ValueError, match="count is 0"):
        Members(reconstruction(), 0)
    with pytest.raises(ValueError, match="choose 'z' or 'nll'"):
        GaussianHead(8, 1, score="p")
    with pytest.raises(ValueError, match="median"):
        QuantileHead(8, 1, (0.1, 0.9))
    with pytest.raises(ValueError, match="window that holds"):
        Reconstruction(BidirectionalEncoder(1, 8, 1), QuantileHead(8, 1), 8, 4, 4)
    model = detector()
    with pytest.raises(ValueError, match=r"needed \(B, T, C\)"):
        model(Rows(torch.zeros(2, 5)))
    with pytest.raises(ValueError, match="step takes one row"):
        model.step(some_rows(2, 3), model.init_state(2))
    with pytest.raises(ValueError, match="give longer windows"):
        model.scorer.loss(some_rows(2, 4))


def test_a_detector_is_rebuilt_from_plain_values():
    model = detector()
    again = rebuild(describe(model)).double().eval()
    again.load_state_dict(model.state_dict())
    rows = some_rows()
    with torch.no_grad():
        assert torch.equal(again(rows)[0].score, model(rows)[0].score)
