"""Models that look ahead, online: answers at the lag of their blocks, equal to one pass over everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from mambats.encoders import BidirectionalEventFusion, BidirectionalStreamFusion, ImuEncoder
from mambats.encoders.features import ExtractingFusion
from mambats.encoders.fusion import EventFusion, StreamFusion
from mambats.mixers import MambaSettings
from mambats.preprocess.imu import Preintegration
from mambats.regress.stream_model import StreamRegressor
from mambats.series import SensorRows
from mambats.streaming import ClockRule, Packet, Policy, SnapshotRing, StreamRunner
from mambats.streaming.engines.regressor import RegressorEngine
from tests.mambats.streaming.toy import MS, shuffled

PERIOD, LAG, TICK = 20 * MS, 200 * MS, 50 * MS
STREAMS = {"imu": 3, "gnss": 2, "ask": 0}
SMALL = MambaSettings(state_size=4)
SECONDS = 10**9
POLICY = Policy(lateness_ns=60 * MS, tick_ns=TICK, clock=ClockRule(ahead_ns=60 * SECONDS), provisional=False)

ENCODERS = {
    "event": lambda: BidirectionalEventFusion(STREAMS, 8, 2, period_ns=PERIOD, mixer=SMALL, lookahead=LAG / 1e9),
    "stream": lambda: BidirectionalStreamFusion(STREAMS, 8, 2, period_ns=PERIOD, mixer=SMALL, lookahead=LAG / 1e9),
    "causal event": lambda: EventFusion(STREAMS, 8, 2, period_ns=PERIOD, mixer=SMALL),
    "causal stream": lambda: StreamFusion(STREAMS, 8, 1, period_ns=PERIOD, mixer=SMALL),
}


def engine(kind="event", tick_ns=TICK):
    torch.manual_seed(1)
    model = StreamRegressor(ENCODERS[kind](), ["v", "w"], hidden=8)
    model.scaler.mean.copy_(torch.tensor([3.0, -1.0]))
    model.scaler.scale.copy_(torch.tensor([2.0, 0.5]))
    return RegressorEngine(model, tick_ns)


def packets(seed=0, seconds=1.4, start_ns=7 * SECONDS + 123 * MS, row=0):
    """An inertial sensor at about 100 Hz and fixes at 5 Hz; holes, missing values, and a pause of 0.3 s."""
    random, found = np.random.default_rng([seed, row]), []
    for name, period in (("imu", 10 * MS), ("gnss", 200 * MS)):
        for at in range(int(seconds * SECONDS / period)):
            stamp = start_ns + at * period + int(random.integers(0, MS))
            values = random.normal(size=STREAMS[name]).astype(np.float32)
            values[random.random(len(values)) < 0.1] = np.nan
            kept = random.random() > 0.15 and not 0.6 <= (stamp - start_ns) / SECONDS <= 0.9
            if kept and np.isfinite(values).any():
                found.append(Packet(name, stamp, values, row))
    return sorted(found, key=lambda packet: packet.stamp_ns)


def run(runner, given):
    return [a for p in given for a in runner.push(p.stream, p.stamp_ns, p.values, p.row)] + runner.flush()


def numbers(answers, row=0):
    return [(a.stamp_ns, float(a.outputs["v"]), float(a.outputs["w"])) for a in answers if a.row == row]


@torch.no_grad()
def offline(behind, given, stamps):
    """One pass of the model over everything that was measured, asked at the stamps given."""
    model, block = behind.model, behind.block_ns
    begin = (given[0].stamp_ns - 1) // block * block
    end = -(-max(given[-1].stamp_ns, stamps[-1]) // block) * block

    def rows(values, when):
        values = torch.from_numpy(np.array(values, np.float32))[None]
        passed = torch.tensor([[s - begin for s in when]], dtype=torch.int64)
        mask = torch.ones(passed.shape, dtype=torch.bool)
        return SensorRows(values.nan_to_num(), mask, mask.float(), passed, values.isfinite())

    streams = {
        name: rows([p.values for p in given if p.stream == name], [p.stamp_ns for p in given if p.stream == name])
        for name, width in behind.streams.items()
        if width
    }
    asked = rows(np.zeros((len(stamps), 0)), stamps)
    return model.estimate(model(streams, asked, end - begin))[0].numpy()


@pytest.mark.parametrize("kind", ENCODERS)
def test_what_is_settled_equals_the_batch_pass(kind):
    behind, given = engine(kind), packets()
    answers = run(StreamRunner(behind, POLICY), given)
    assert all(a.settled for a in answers) and [a.seq for a in answers] == list(range(len(answers)))
    stamps = [a.stamp_ns for a in answers]
    # Ticks from the first packet on, none left out; of a block that is not over nothing is said.
    assert stamps == list(range(stamps[0], stamps[0] + len(stamps) * TICK, TICK))
    assert stamps[0] >= given[0].stamp_ns and len(stamps) >= (1.4 * SECONDS - LAG) // TICK - 2
    found = np.array([(a.outputs["v"], a.outputs["w"]) for a in answers])
    np.testing.assert_allclose(found, offline(behind, given, stamps), atol=1e-5, rtol=1e-5)
    lags = np.array([a.outputs["lag_s"] for a in answers])
    assert lags.max() <= behind.lag_ns / 1e9 and (behind.lag_ns == 0) == (lags.max() == 0)
    assert all("age_ns" not in a.outputs for a in answers)


@pytest.mark.parametrize("tick_ns", [30 * MS, 70 * MS, 450 * MS])
def test_ticks_need_not_divide_the_look_ahead(tick_ns):
    behind, given = engine(tick_ns=tick_ns), packets()
    policy = Policy(tick_ns=tick_ns, clock=POLICY.clock, provisional=False)
    answers = run(StreamRunner(behind, policy), given)
    stamps = [a.stamp_ns for a in answers]
    assert stamps == list(range(stamps[0], stamps[0] + len(stamps) * tick_ns, tick_ns))
    found = np.array([(a.outputs["v"], a.outputs["w"]) for a in answers])
    np.testing.assert_allclose(found, offline(behind, given, stamps), atol=1e-5, rtol=1e-5)


def test_order_and_doubles_change_nothing():
    given = packets()
    expected = numbers(run(StreamRunner(engine(), POLICY), given))
    for seed in range(2):
        arrived = shuffled([*given, *given[::10]], 50 * MS, seed)
        assert numbers(run(StreamRunner(engine(), POLICY), arrived)) == expected


@settings(max_examples=6, deadline=None)
@drawn(st.data())
def test_packets_may_come_in_any_bunches(data):
    """Pushed together or alone, provisional answers or not, with time told between: the same settled answers."""
    behind, arrived = engine(), shuffled(packets(seconds=0.8), 50 * MS)
    expected = numbers(run(StreamRunner(behind, POLICY), packets(seconds=0.8)))
    runner = StreamRunner(behind, replace(POLICY, provisional=data.draw(st.booleans())))
    answers, at = [], 0
    while at < len(arrived):
        count = data.draw(st.integers(1, 40))
        answers += runner.push_many(arrived[at : at + count])
        newest = max(p.stamp_ns for p in arrived[: at + count])
        answers += runner.advance(newest) if data.draw(st.booleans()) else []
        at += count
    assert numbers([a for a in answers + runner.flush() if a.settled]) == expected


def test_robots_share_steps_not_clocks():
    first, second = packets(), packets(seed=3, start_ns=9 * SECONDS + 40 * MS, row=1)
    together = run(StreamRunner(engine(), POLICY, rows=2), sorted([*first, *second], key=lambda p: p.stamp_ns))
    for row, given in enumerate((first, second)):
        alone = numbers(run(StreamRunner(engine(), POLICY), [p._replace(row=0) for p in given]))
        mine = numbers(together, row)
        assert [m[0] for m in mine] == [a[0] for a in alone]
        np.testing.assert_allclose(np.array(mine)[:, 1:], np.array(alone)[:, 1:], atol=1e-5)


@pytest.mark.parametrize("kind", ["stream", "causal event"])
def test_a_snapshot_goes_on_within_a_block(kind, tmp_path):
    given = packets()
    expected = numbers(run(StreamRunner(engine(kind), POLICY), given))
    first, half = StreamRunner(engine(kind), POLICY), len(given) // 2 + 3
    answers = [a for p in given[:half] for a in first.push(*p)]
    with SnapshotRing(tmp_path) as ring:
        ring.save(first.state())
    second = StreamRunner(engine(kind), POLICY)
    with SnapshotRing(tmp_path) as ring:
        assert ring.restore(second) is not None
    assert numbers(answers + run(second, given[half:])) == expected
    other = StreamRunner(engine(kind, tick_ns=TICK // 2), POLICY)
    assert other.engine.identity != second.engine.identity  # what is asked when is part of the model's identity


def test_an_hour_without_packets_is_told_as_the_rule_says():
    behind = engine()
    given = packets(seconds=0.6)
    later = [p._replace(stamp_ns=p.stamp_ns + 3600 * SECONDS) for p in packets(seed=2, seconds=0.6)]
    answers = run(StreamRunner(behind, POLICY), [*given, *later])
    assert np.isfinite([a.outputs["v"] for a in answers]).all()
    stamps = [a.stamp_ns for a in answers]
    before = [s for s in stamps if s <= given[-1].stamp_ns]
    after = [s for s in stamps if s >= later[0].stamp_ns]
    assert len(before) >= 12 and len(after) >= 8 and stamps == sorted(stamps)
    np.testing.assert_allclose(
        np.array([(a.outputs["v"], a.outputs["w"]) for a in answers[: len(before)]]),
        offline(behind, given, before), atol=1e-5,
    )  # fmt: skip


def test_an_extractor_with_a_pace_of_its_own_runs_at_ticks():
    torch.manual_seed(0)
    fusion = StreamFusion({"imu": 8, "ask": 0}, 8, 1, period_ns=100 * MS, mixer=SMALL)
    imu = ImuEncoder(8, 100 * MS, Preintegration(), room=30)
    behind = RegressorEngine(StreamRegressor(ExtractingFusion(fusion, {"imu": imu}), ["v"], hidden=8))
    assert dict(behind.streams) == {"imu": 6, "ask": 0} and behind.lag_ns == 0
    random = np.random.default_rng(0)
    given = [
        Packet("imu", 10 * SECONDS + at * 10 * MS, random.normal(size=6).astype(np.float32)) for at in range(1, 121)
    ]
    policy = Policy(tick_ns=behind.tick_ns, clock=POLICY.clock, provisional=False)
    answers = run(StreamRunner(behind, policy), given)
    assert [a.stamp_ns for a in answers] == [10 * SECONDS + at * 100 * MS for at in range(1, 13)]
    expected = offline(behind, given, [a.stamp_ns for a in answers])
    np.testing.assert_allclose([a.outputs["v"] for a in answers], expected[:, 0], atol=1e-5)


def test_what_cannot_run_is_refused():
    whole = BidirectionalEventFusion(STREAMS, 8, 1, period_ns=PERIOD, mixer=SMALL)
    with pytest.raises(ValueError, match="reads ahead to the end of the window"):
        StreamRegressor(whole, ["v"])
    with pytest.raises(ValueError, match="need above 0"):
        engine(tick_ns=0)
    crowded = RegressorEngine(engine().model, TICK, rate=1.0)
    runner = StreamRunner(crowded, POLICY)
    with pytest.raises(ValueError, match="more than 64 rows came before they could be read"):
        for at in range(100):
            runner.push("imu", at * MS // 2 + SECONDS + 1, np.ones(3))
