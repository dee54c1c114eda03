"""Inertial tokens: what gtsam's equations add up, whatever the rate; causal; windows in a row are one long window."""

from __future__ import annotations

from dataclasses import replace

import pytest
import roma
import torch
from torch import Tensor

from mambats.encoders import CausalEncoder
from mambats.encoders.features import ImuEncoder
from mambats.encoders.features.imu import GRAVITY, describe_motion
from mambats.encoders.features.interval import deal, put_first
from mambats.mixers import MambaSettings
from mambats.preprocess.imu import Preintegration
from mambats.preprocess.imu.so3 import logarithm
from mambats.series import SensorRows

MS = 1_000_000
PERIOD = 100 * MS


def causal() -> CausalEncoder:
    return CausalEncoder(6, 4, 1, mixer=MambaSettings(state_size=2))


def build(kind: str) -> ImuEncoder:
    torch.manual_seed(1)
    made = {
        "preintegrated": lambda: ImuEncoder(5, PERIOD, Preintegration()),
        "learned": lambda: ImuEncoder(5, PERIOD, encoder=causal()),
        "mean": lambda: ImuEncoder(5, PERIOD, mean=True),
        "all": lambda: ImuEncoder(5, PERIOD, Preintegration(), causal(), mean=True),
    }
    return made[kind]().double()


KINDS = ["preintegrated", "learned", "mean", "all"]


def window(batch: int, millis: Tensor, mask: Tensor | None = None) -> SensorRows:
    """Samples at rising whole milliseconds (T,), the same times in each row."""
    values = torch.randn(batch, len(millis), 6, dtype=torch.float64)
    values[..., 5] += GRAVITY
    stamps = (millis * MS).expand(batch, -1).contiguous()
    mask = torch.ones_like(stamps, dtype=torch.bool) if mask is None else mask
    gaps = torch.cat([torch.ones_like(stamps[:, :1]), stamps.diff(dim=1) / (10 * MS)], 1).float()
    return SensorRows(values, mask, gaps, stamps)


def uneven(count: int, longest: int = 30) -> Tensor:
    return torch.randint(1, longest, (count,)).cumsum(0)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_company_change_nothing(kind: str) -> None:
    model, rows = build(kind), window(3, uneven(30))
    mask = torch.arange(30) < torch.tensor([30, 0, 12])[:, None]
    values = rows.values.masked_fill(~mask[..., None], torch.nan)
    rows = replace(rows, mask=mask, values=values, stamps=rows.stamps.masked_fill(~mask, 0))
    made = model.encode_rows(rows, 5 * PERIOD)
    assert made.values.isfinite().all()
    assert not made.mask[1].any()
    for row, count in ((0, 30), (2, 12)):
        alone = SensorRows(*(part[row : row + 1, :count] for part in (values, mask, rows.gaps, rows.stamps)))
        again = model.encode_rows(alone, 5 * PERIOD)
        torch.testing.assert_close(again.values[0], made.values[row], rtol=1e-10, atol=1e-10)
        assert torch.equal(again.mask[0], made.mask[row])
        assert torch.equal(again.gaps[0], made.gaps[row])


@pytest.mark.parametrize("kind", KINDS)
def test_windows_in_a_row_are_one_long_window(kind: str) -> None:
    model, rows = build(kind), window(2, uneven(60, 15))
    rows = replace(rows, mask=torch.rand(2, 60) > 0.3)
    whole, last = model(rows, 9 * PERIOD)
    state, parts, begin = None, [], 0
    for periods in (1, 0, 3, 5):
        end = begin + periods * PERIOD
        here = (rows.stamps[0] > begin) & (rows.stamps[0] <= end)
        part = SensorRows(rows.values[:, here], rows.mask[:, here], rows.gaps[:, here], rows.stamps[:, here] - begin)
        made, state = model(part, end - begin, state)
        parts.append(made)
        begin = end
    torch.testing.assert_close(torch.cat([p.values for p in parts], 1), whole.values, rtol=1e-10, atol=1e-10)
    assert torch.equal(torch.cat([p.mask for p in parts], 1), whole.mask)
    assert torch.equal(state.age, last.age)
    torch.testing.assert_close(state.sample, last.sample)
    torch.testing.assert_close(state.token, last.token, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_knows_nothing_of_what_comes_after_it(kind: str) -> None:
    model, rows = build(kind), window(1, torch.arange(7, 500, 7))
    changed = rows.values.clone()
    later = rows.stamps[0] > 2 * PERIOD
    changed[:, later] += 1
    before, after = model.encode_rows(rows, 5 * PERIOD), model.encode_rows(replace(rows, values=changed), 5 * PERIOD)
    assert torch.equal(before.values[:, :2], after.values[:, :2])
    assert (before.values[:, 2:] - after.values[:, 2:]).abs().amin(1).max() > 0


def test_a_steady_turn_and_push_are_read_exactly() -> None:
    """Constant rate about z and constant force: rotation w t, and what the rotated force adds up to."""
    rows = window(1, torch.arange(0, 1001, 5)[1:])
    rows = replace(rows, values=torch.tensor([0, 0, 0.7, 0, 0, GRAVITY]).double().expand(1, 200, 6))
    dealt = deal(rows.stamps, PERIOD, 10, PERIOD)
    held = dealt.held[0, 1:].double() * 1e-9
    torch.testing.assert_close(held.sum(-1), torch.full((9,), 0.1).double())
    inside = rows.values[0][dealt.row[0, 1:]]
    noise = Preintegration()
    numbers = describe_motion(noise(inside[..., :3], inside[..., 3:], held), noise, 0.1)
    known = torch.tensor([0, 0, 0.7, 0, 0, 1, 0, 0, 1, 1]).double()
    torch.testing.assert_close(numbers[:, :10], known.expand(9, 10), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(numbers[:, 10:13], torch.zeros(9, 3).double(), atol=1e-6, rtol=0)


def test_intervals_share_a_sample_that_holds_over_their_border() -> None:
    stamps = torch.tensor([[30, 130, 190, 600]]) * MS
    dealt = deal(stamps, PERIOD, 8, 150 * MS)
    assert (dealt.held[0].sum(-1) // MS).tolist() == [70, 100, 100, 40, 0, 0, 100, 50]
    assert dealt.last[0].tolist() == [0, 2, 2, 2, 2, 3, 3, 3]
    shares = torch.zeros(4, dtype=torch.int64).index_add(0, dealt.row.flatten(), dealt.held.flatten()) // MS
    assert shares.tolist() == [100, 60, 150, 150]


def test_rows_that_are_not_there_are_passed_over() -> None:
    rows = window(1, torch.tensor([10, 20, 30]), torch.tensor([[False, True, False]]))
    order, stamps = put_first(rows)
    assert order.tolist() == [[1, 0, 2]]
    assert stamps[0, 0] == 20 * MS
    assert stamps[0, 1] > 10**18


@pytest.mark.parametrize("kind", KINDS)
def test_marred_samples_count_as_never_taken(kind: str) -> None:
    model, rows = build(kind), window(1, uneven(30))
    marred, hidden = rows.values.clone(), torch.ones_like(rows.values, dtype=torch.bool)
    marred[0, 3, 2], marred[0, 9, 5] = torch.nan, torch.inf
    hidden[0, 9, 5] = False
    mask = rows.mask.clone()
    mask[0, [3, 9]] = False
    cut = model.encode_rows(replace(rows, mask=mask), 4 * PERIOD)
    made = model.encode_rows(replace(rows, values=marred, observed=hidden), 4 * PERIOD)
    torch.testing.assert_close(made.values, cut.values, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_windows_and_batches_are_answered(kind: str) -> None:
    model = build(kind)
    for batch, samples, length in ((0, 4, 300), (2, 0, 300), (2, 3, 50), (2, 0, 0)):
        made, state = model(window(batch, torch.arange(1, samples + 1)), length * MS)
        assert made.values.shape == (batch, length // 100, 5)
        assert made.mask.any() == (batch > 0 and samples > 0 and length >= 100)
        assert state.age.shape == (batch,)
        assert (state.age == -1).all() == (samples == 0 or batch == 0)


def test_one_sample_and_a_pause_of_an_hour() -> None:
    model = build("all")
    hour = 3_600_000
    made = model.encode_rows(window(1, torch.tensor([50, hour + 50])), (hour + 200) * MS)
    assert made.values.isfinite().all()
    assert made.mask[0].nonzero().flatten().tolist() == [0, 1, hour // 100, hour // 100 + 1]
    assert made.gaps[0][made.mask[0]].tolist() == [1, 1, hour // 100 - 1, 1]
    assert made.stamps[0][made.mask[0]].tolist()[:2] == [PERIOD, 2 * PERIOD]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_differences(kind: str) -> None:
    model, rows = build(kind), window(2, torch.arange(20, 220, 40))

    def loss(values: Tensor) -> Tensor:
        return model.encode_rows(replace(rows, values=values), 2 * PERIOD).values.square().sum()

    values = rows.values.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, values, fast_mode=True)
    rest = torch.zeros_like(values).requires_grad_()  # no turn at all: Log is smooth there
    loss(rest).backward()
    assert rest.grad is not None
    assert rest.grad.isfinite().all()


def test_float32_is_near_float64() -> None:
    model, rows = build("all"), window(2, torch.arange(5, 500, 5))
    exact = model.encode_rows(rows, 5 * PERIOD).values
    near = model.float().encode_rows(replace(rows, values=rows.values.float()), 5 * PERIOD).values
    torch.testing.assert_close(near.double(), exact, rtol=1e-4, atol=1e-4)


def test_turns_add_up_over_intervals() -> None:
    """The rotation vectors that tokens read, composed, are the sensor's whole turn."""
    rows, noise = window(1, torch.arange(0, 1000, 5)), Preintegration()
    dealt = deal(rows.stamps, PERIOD, 10, PERIOD)
    inside = rows.values[0][dealt.row[0]]
    numbers = describe_motion(noise(inside[..., :3], inside[..., 3:], dealt.held[0].double() * 1e-9), noise, 0.1)
    whole = torch.tensor([0, 0, 0, 1]).double()
    for turn in numbers[:, :3] * 0.1:
        whole = roma.quat_product(whole, roma.rotvec_to_unitquat(turn))
    known = noise(rows.values[..., :3], rows.values[..., 3:], torch.full((1, 200), 0.005).double()).quaternion[0]
    torch.testing.assert_close(whole * whole[3].sign(), known * known[3].sign(), rtol=1e-9, atol=1e-9)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to read"):
        ImuEncoder(4, PERIOD)
    with pytest.raises(ValueError, match="encoder reads 5 channels"):
        ImuEncoder(4, PERIOD, encoder=CausalEncoder(5, 4, 1))
    with pytest.raises(ValueError, match="longest 0"):
        ImuEncoder(4, PERIOD, mean=True, longest=0)
    rows = window(1, torch.arange(1, 50))
    with pytest.raises(ValueError, match="an interval has 50 samples, room is 8"):
        ImuEncoder(4, PERIOD, mean=True, room=8).double().encode_rows(rows, PERIOD)
    with pytest.raises(ValueError, match=r"need \(B, T, 6\)"):
        build("mean").encode_rows(replace(rows, values=rows.values[..., :3]), PERIOD)


def test_rotation_vectors_are_the_logarithm_of_turns() -> None:
    small = torch.tensor([[0, 0, 0], [1e-9, 0, 0], [1e-5, -2e-6, 0], [3.1, 0, 0]]).double()
    vectors = torch.cat([small, torch.randn(20, 3).double()])
    made = logarithm(-roma.rotvec_to_unitquat(vectors))
    torch.testing.assert_close(made, vectors, rtol=1e-10, atol=1e-14)


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    model, rows = build("all").float(), window(2, torch.arange(5, 500, 5))
    rows = replace(rows, values=rows.values.float())
    here = model.encode_rows(rows, 5 * PERIOD).values
    there = model.cuda().encode_rows(rows.to("cuda"), 5 * PERIOD).values
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-3)
