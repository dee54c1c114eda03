"""Fusion of raw rows: the laws of fusion hold through extractors, and sensors of every kind go in together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mambats.encoders import (
    CausalEncoder,
    EventFusion,
    ExtractingFusion,
    FeatureExtractor,
    ImageEncoder,
    ImuEncoder,
    ObjectEncoder,
    PillarEncoder,
    PointGrid,
    StreamFusion,
    VoxelEncoder,
)
from mambats.encoders.features.extractor import with_tokens
from mambats.mixers import MambaSettings
from mambats.preprocess.imu import Preintegration
from mambats.protocols import Event
from mambats.recipe import describe, rebuild
from mambats.series import SensorRows
from mambats.testing import check_fusion_encoder

SMALL = MambaSettings(state_size=3)
PERIOD = 100_000_000
GRID = PointGrid((-8, -8, -2), (8, 8, 2), (2, 2, 4))


class Squared(FeatureExtractor):
    """Plain rows to rows: the simplest extractor there is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.inner = nn.Linear(width, width)

    def encode_rows(self, rows: SensorRows, length_ns: int) -> SensorRows:
        values = torch.where(rows.mask.unsqueeze(-1), rows.values, torch.zeros_like(rows.values))
        if rows.observed is not None:
            values = torch.where(rows.observed, values, torch.zeros_like(values))
        return with_tokens(rows, self.inner(values).square())


@pytest.mark.parametrize("kind", [EventFusion, pytest.param(StreamFusion, marks=pytest.mark.slow)])
def test_the_laws_of_fusion_hold_through_an_extractor(kind) -> None:
    def build() -> ExtractingFusion:
        fusion = kind({"a": 2, "b": 3, "asked": 0}, 8, 2, period_ns=5, mixer=SMALL)
        return ExtractingFusion(fusion, {"b": Squared(3)})

    check_fusion_encoder(build)


def everything() -> ExtractingFusion:
    torch.manual_seed(2)
    fusion = StreamFusion(
        {"lidar": 6, "radar": 4, "imu": 5, "objects": 3, "camera": 7, "gnss": 3}, 8, 2, period_ns=PERIOD, mixer=SMALL
    )
    extractors = {
        "lidar": VoxelEncoder(4, 6, 1, GRID, mixer=SMALL),
        "radar": PillarEncoder(5, 4, GRID),
        "imu": ImuEncoder(5, PERIOD, Preintegration(), CausalEncoder(6, 4, 1, mixer=SMALL)),
        "objects": ObjectEncoder(("x", "y", "z", "score"), 3),
        "camera": ImageEncoder(1, 7, 1, (4, 8), 4, mixer=SMALL),
    }
    return ExtractingFusion(fusion, extractors).double()


SHAPES = {"lidar": (9, 4), "radar": (5, 5), "imu": (6,), "objects": (3, 4), "camera": (1, 4, 8), "gnss": (3,)}
ROWS = {"lidar": 3, "radar": 5, "imu": 60, "objects": 4, "camera": 2, "gnss": 1}


def window(batch: int = 2, periods: int = 4) -> dict[str, SensorRows]:
    made = dict[str, SensorRows]()
    for name, shape in SHAPES.items():
        count = ROWS[name]
        stamps = torch.randint(1, periods * PERIOD, (batch, count)).sort(1).values
        mask = torch.rand(batch, count) > 0.2
        values = torch.randn(batch, count, *shape, dtype=torch.float64)
        made[name] = SensorRows(values, mask, mask.float(), stamps)
    return made


def cut(rows: dict[str, SensorRows], begin: int, end: int) -> dict[str, SensorRows]:
    def one(given: SensorRows) -> SensorRows:
        inside = (given.stamps > begin) & (given.stamps <= end)
        return replace(given, mask=given.mask & inside, stamps=given.stamps - begin)

    return {name: one(given) for name, given in rows.items()}


def test_windows_of_whole_periods_equal_one_long_window() -> None:
    model, rows = everything(), window()
    whole, _ = model(rows, 4 * PERIOD)
    state = model.init_state(2)
    parts: dict[str, list[Tensor]] = {}
    for begin, end in ((0, 1), (1, 3), (3, 3), (3, 4)):
        made, state = model(cut(rows, begin * PERIOD, end * PERIOD), (end - begin) * PERIOD, state=state)
        for name, tokens in made.items():
            parts.setdefault(name, []).append(tokens)
    for name, tokens in whole.items():
        joined = torch.cat(parts[name], 1) if name == "imu" else torch.stack(parts[name]).sum(0)
        torch.testing.assert_close(joined, tokens, rtol=1e-9, atol=1e-9)


def test_any_sensor_may_be_missing_for_a_while() -> None:
    model, rows = everything(), window()
    first, second = cut(rows, 0, PERIOD), cut(rows, PERIOD, 4 * PERIOD)
    for name in ("lidar", "imu"):
        without = {other: given for other, given in first.items() if other != name}
        masked = {**first, name: replace(first[name], mask=torch.zeros_like(first[name].mask))}
        _, state = model(without, PERIOD)
        _, known = model(masked, PERIOD)
        made, expected = model(second, 3 * PERIOD, state=state)[0], model(second, 3 * PERIOD, state=known)[0]
        for one, other in zip(made.values(), expected.values(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_gradients_reach_every_extractor() -> None:
    model = everything()
    made, _ = model(window(), 4 * PERIOD)
    sum(tokens.square().sum() for tokens in made.values()).backward()
    lost = [name for name, p in model.readers.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not lost
    assert set(model.state_dict()) >= {f"readers.of_{name}.{p}" for name in ("imu",) for p in ("head.weight",)}


def test_a_sweep_steps_as_it_runs() -> None:
    torch.manual_seed(3)
    fusion = EventFusion({"lidar": 6, "gnss": 3}, 8, 1, period_ns=PERIOD, mixer=SMALL)
    model = ExtractingFusion(fusion, {"lidar": PillarEncoder(4, 6, GRID)}).double()
    sweep, fix = torch.randn(2, 9, 4, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    there = torch.tensor([True, False])
    elapsed = torch.tensor([5, 5])
    made, _ = model.step({"lidar": Event(sweep, None, there), "gnss": Event(fix)}, elapsed, state=model.init_state(2))
    stamps, ones = torch.full((2, 1), 5), torch.ones(2, 1)
    rows = {
        "lidar": SensorRows(sweep[:, None], there[:, None], ones, stamps),
        "gnss": SensorRows(fix[:, None], ones.bool(), ones, stamps),
    }
    whole, _ = model(rows, 5)
    for name, tokens in made.items():
        torch.testing.assert_close(tokens, whole[name][:, 0], rtol=1e-10, atol=1e-10)


def test_it_is_rebuilt_from_plain_values_and_refuses_what_does_not_fit() -> None:
    model = everything()
    again = rebuild(describe(model)).double()
    again.load_state_dict(model.state_dict())
    rows = window()
    assert torch.equal(again(rows, 4 * PERIOD)[0]["gnss"], model(rows, 4 * PERIOD)[0]["gnss"])
    with pytest.raises(ValueError, match=r"\['imu'\] become tokens at a pace of their own"):
        model.step({}, torch.zeros(2, dtype=torch.int64), state=model.init_state(2))
    with pytest.raises(ValueError, match=r"extractors\['lidar'\] gives 6 channels"):
        ExtractingFusion(EventFusion({"lidar": 5}, 8, 1, period_ns=1), {"lidar": PillarEncoder(4, 6)})
