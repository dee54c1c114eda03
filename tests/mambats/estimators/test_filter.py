import math

import pytest
import torch
from torch import Tensor

from mambats.estimators import ConstantNoise, Filter, FilterState, Motion, Seen, Sensor, WhiteAcceleration
from mambats.series import SensorRows

SECOND = 10**9


class Straight(Motion):
    size = 4

    def __init__(self) -> None:
        super().__init__()
        self.noise = WhiteAcceleration([0.5, 0.8])

    def forward(self, x: Tensor, elapsed: Tensor) -> Tensor:
        return torch.cat([x[:, :2] + x[:, 2:] * elapsed[:, None], x[:, 2:]], 1)


class Place(Sensor):
    size = 2

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.noise = ConstantNoise(covariance=[[deviation**2, 0.3 * deviation**2], [0.3 * deviation**2, deviation**2]])

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2]


class Distance(Sensor):
    size = 1

    def __init__(self) -> None:
        super().__init__()
        self.noise = ConstantNoise([0.2])

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, :2] - torch.tensor([30.0, -20.0]).to(x)).norm(dim=1, keepdim=True)


class Extended(Filter):
    def _move(self, state: FilterState, elapsed: Tensor, noise: Tensor) -> FilterState:
        move = self.motion.jacobian(state.mean, elapsed)
        return FilterState(self.motion(state.mean, elapsed), move @ state.covariance @ move.mT + noise)

    def _see(self, state: FilterState, stream: str, value: Tensor) -> Seen:
        sensor = self.sensors[stream]
        return Seen(sensor.residual(value, sensor(state.mean)), sensor.jacobian(state.mean))


def make(gate: float | None = None) -> Extended:
    sensors = {"gnss": Place(1.0), "beacon": Distance()}
    return Extended(Straight(), sensors, ConstantNoise([5.0, 5.0, 2.0, 2.0]), gate=gate).double()


def random_rows(seed: int = 0, batch: int = 3) -> dict[str, SensorRows]:
    generator = torch.Generator().manual_seed(seed)

    def stream(rows: int, channels: int) -> SensorRows:
        stamps = torch.randint(0, 10, (batch, rows), generator=generator).sort(1).values * (
            SECOND // 5
        )  # many are equal
        values = torch.randn(batch, rows, channels, generator=generator, dtype=torch.float64) * 3 + 5
        mask = torch.rand(batch, rows, generator=generator) > 0.2
        return SensorRows(values, mask, torch.ones(batch, rows), stamps)

    return {"beacon": stream(7, 1), "gnss": stream(5, 2), "ask": stream(4, 0)}


def one_by_one(model: Extended, rows: dict[str, SensorRows], b: int, length_ns: int):
    """The plain loop that `run` must equal, for one row of a batch."""
    events = [
        (int(rows[name].stamps[b, t]), order, t, name)
        for order, name in enumerate(["gnss", "beacon", "ask"])
        for t in range(rows[name].mask.shape[1])
        if rows[name].mask[b, t]
    ]
    state, now, means, told = model.init_state(1), 0, [], {}
    for stamp, _, t, name in sorted(events):
        state = model.predict(state, torch.tensor([(stamp - now) / 1e9], dtype=torch.float64))
        now = stamp
        if name != "ask":
            state, told[name, t] = model.update(state, name, rows[name].values[b : b + 1, t])
        means.append(state.mean[0])
    return (
        model.predict(state, torch.tensor([(length_ns - now) / 1e9], dtype=torch.float64)),
        means,
        told,
        sorted(events),
    )


@pytest.mark.parametrize("gate", [None, 0.9])
@torch.no_grad()
def test_run_equals_one_call_after_another(gate: float | None):
    model, rows, length = make(gate), random_rows(), 2 * SECOND
    made = model.run(rows, length)
    used = 0
    for b in range(3):
        state, means, told, events = one_by_one(model, rows, b, length)
        assert int(made.timeline.mask[b].sum()) == len(means)
        torch.testing.assert_close(made.mean[b, : len(means)], torch.stack(means))
        assert made.timeline.stamps[b, : len(means)].tolist() == [stamp for stamp, *_ in events]
        torch.testing.assert_close(made.state.mean[b], state.mean[0])
        torch.testing.assert_close(made.state.covariance[b], state.covariance[0])
        for (name, t), said in told.items():
            for field, value in zip(said._fields, said, strict=True):
                torch.testing.assert_close(getattr(made.innovations[name], field)[b, t], value[0])
            used += int(said.used)
        k = {(name, t): k for k, (_, _, t, name) in enumerate(events)}
        for t in range(4):
            if rows["ask"].mask[b, t]:
                torch.testing.assert_close(made.at("ask").mean[b, t], means[k["ask", t]])
    assert used < 30 or gate is None


@torch.no_grad()
def test_windows_that_follow_one_another_equal_one():
    model, rows = make(), random_rows()
    whole = model.run(rows, 2 * SECOND)
    half = SECOND
    state = None
    for begin in (0, half + 1):
        parts = {}
        for name, row in rows.items():
            inside = row.mask & ((row.stamps <= half) if begin == 0 else (row.stamps >= begin))
            stamps = torch.where(inside, row.stamps - (0 if begin == 0 else half), 0)
            parts[name] = SensorRows(row.values, inside, row.gaps, stamps)
        state = model.run(parts, half, state).state
    torch.testing.assert_close(state.mean, whole.state.mean)
    torch.testing.assert_close(state.covariance, whole.state.covariance)


@torch.no_grad()
def test_values_not_observed_are_as_nan_and_never_reach_the_state():
    model, rows = make(), random_rows()
    observed = torch.ones_like(rows["gnss"].values, dtype=torch.bool)
    observed[:, ::2, 1] = False
    given = rows["gnss"]
    blank = SensorRows(given.values, given.mask, given.gaps, given.stamps, observed)
    holes = SensorRows(given.values.masked_fill(~observed, math.nan), given.mask, given.gaps, given.stamps)
    one, two = (model.run({**rows, "gnss": gnss}, 2 * SECOND) for gnss in (blank, holes))
    torch.testing.assert_close(one.mean, two.mean, rtol=0, atol=0)
    assert one.mean.isfinite().all()
    assert not torch.equal(one.mean, model.run(rows, 2 * SECOND).mean)


def test_gradient_of_the_likelihood_equals_finite_differences():
    model, rows = make(), random_rows()
    rows["gnss"].values[0, 0, 1] = math.nan  # must not poison gradients
    names = [name for name, _ in model.named_parameters()]

    def likelihood(*values: Tensor) -> Tensor:
        for name, value in zip(names, values, strict=True):
            owner, _, last = name.rpartition(".")
            model.get_submodule(owner)._parameters.pop(last, None)
            setattr(model.get_submodule(owner), last, value)
        return model.run(rows, 2 * SECOND).log_likelihood()

    values = [p.detach().clone().requires_grad_() for p in model.parameters()]
    assert torch.autograd.gradcheck(likelihood, values)


@torch.no_grad()
def test_rows_without_a_measurement_keep_their_state_to_the_bit():
    model = make(gate=0.99)
    state = model.predict(model.init_state(3), torch.ones(3, dtype=torch.float64))
    value = torch.tensor([[0.1, 0.2], [1e6, 1e6], [math.nan, math.inf]], dtype=torch.float64)
    after, told = model.update(state, "gnss", value)
    assert told.used.tolist() == [True, False, False]
    assert told.nis[1] > 1e6 and told.nis[2] == 0  # gated out, and nothing measured
    masked, none = model.update(state, "gnss", value, mask=torch.tensor([False, False, False]))
    for b in (1, 2):
        assert torch.equal(after.mean[b], state.mean[b]) and torch.equal(after.covariance[b], state.covariance[b])
    assert torch.equal(masked.covariance, state.covariance) and not none.used.any() and not none.log_likelihood.any()


@torch.no_grad()
def test_no_time_changes_nothing_and_an_hour_is_survived():
    model = make()
    state, _ = model.update(model.init_state(2), "gnss", torch.zeros(2, 2, dtype=torch.float64))
    after = model.predict(state, torch.tensor([0.0, 3600.0], dtype=torch.float64))
    assert torch.equal(after.mean[0], state.mean[0]) and torch.equal(after.covariance[0], state.covariance[0])
    assert torch.linalg.eigvalsh(after.covariance[1]).min() > 0
    float32 = make().float()
    state, _ = float32.update(float32.init_state(2), "gnss", torch.zeros(2, 2))
    after = float32.predict(state, torch.tensor([3600.0, 3600.0]))
    assert torch.linalg.eigvalsh(after.covariance.double()).min() > 0


@torch.no_grad()
def test_no_rows_and_no_events():
    model = make()
    empty = {
        name: SensorRows(*(v[:0] for v in (r.values, r.mask, r.gaps, r.stamps))) for name, r in random_rows().items()
    }
    assert model.run(empty, SECOND).mean.shape[0] == 0
    rows = random_rows()["gnss"]
    none = SensorRows(rows.values[:, :0], rows.mask[:, :0], rows.gaps[:, :0], rows.stamps[:, :0])
    made = model.run({"gnss": none}, SECOND)
    assert made.mean.shape == (3, 0, 4)
    torch.testing.assert_close(made.state, model.predict(model.init_state(3), torch.ones(3, dtype=torch.float64)))
    assert not made.log_likelihood().any() and made.innovations["gnss"].nis.shape == (3, 0)


def test_bad_input_is_named():
    model, rows = make(), random_rows()
    state = model.init_state(3)
    with pytest.raises(ValueError, match="'odometer' is not known"):
        model.run({"odometer": rows["gnss"]}, 2 * SECOND)
    with pytest.raises(ValueError, match="'odometer' is not known"):
        model.update(state, "odometer", torch.zeros(3, 2))
    with pytest.raises(ValueError, match="has 1 channels"):
        model.run({"gnss": rows["beacon"]}, 2 * SECOND)
    with pytest.raises(ValueError, match="rows is empty"):
        model.run({}, SECOND)
    with pytest.raises(ValueError, match="length_ns"):
        model.run(rows, SECOND // 10)
    with pytest.raises(ValueError, match="0 or more"):
        model.predict(state, torch.tensor([-0.1, 0.0, 0.0]))
    with pytest.raises(ValueError, match="0 or more"):
        model.predict(state, torch.tensor([math.nan, 0.0, 0.0]))
    with pytest.raises(ValueError, match="needed \\(B, m\\)"):
        model.update(state, "gnss", torch.zeros(3, 3))
    with pytest.raises(ValueError, match="elapsed has shape"):
        model.predict(state, torch.zeros(2))
    eye = torch.eye(2, dtype=torch.float64).expand(3, 2, 2)
    with pytest.raises(ValueError, match="not symmetric"):
        model.update(state, "gnss", torch.zeros(3, 2).double(), noise=eye + torch.tensor([[0, 0.5], [0, 0]]))
    with pytest.raises(ValueError, match="not positive definite"):
        model.update(state, "gnss", torch.zeros(3, 2).double(), noise=torch.ones(3, 2, 2).double())
    with pytest.raises(ValueError, match="describe one state"):
        Extended(Straight(), {"gnss": Place(1.0)}, ConstantNoise([1.0]))
    with pytest.raises(ValueError, match="sensors is empty"):
        Extended(Straight(), {}, ConstantNoise([1.0] * 4))
    with pytest.raises(ValueError, match="mean has 1"):
        Extended(Straight(), {"gnss": Place(1.0)}, ConstantNoise([1.0] * 4), mean=[0.0])
