import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mambats.estimators import (
    ConstantNoise,
    ExtendedKalmanFilter,
    KalmanFilter,
    LinearMotion,
    LinearSensor,
    Motion,
    RandomWalk,
    StepMotion,
    WhiteAcceleration,
)
from mambats.recipe import describe, rebuild
from mambats.series import SensorRows

SECOND = 10**9
RATE = [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0] * 4, [0.0] * 4]


class Bent(Motion):
    size = 1

    def __init__(self) -> None:
        super().__init__()
        self.noise = RandomWalk([1.0])

    def forward(self, x: Tensor, elapsed: Tensor) -> Tensor:
        return x.sin()


def make(gate: float | None = None, dtype: torch.dtype = torch.float64) -> KalmanFilter:
    sensors = {
        "gnss": LinearSensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], ConstantNoise(covariance=[[1.0, 0.3], [0.3, 2.0]])),
        "radar": LinearSensor([[0, 0, 1.0, 0.5]], ConstantNoise([0.2])),
    }
    motion = LinearMotion(RATE, WhiteAcceleration([0.5, 0.8]))
    start = ConstantNoise([5.0, 5.0, 2.0, 2.0])
    return KalmanFilter(motion, sensors, start, mean=[1.0, 2.0, 0.0, -1.0], gate=gate).to(dtype)


def random_rows(batch: int, seed: int = 0) -> dict[str, SensorRows]:
    random = torch.Generator().manual_seed(seed)

    def stream(rows: int, channels: int) -> SensorRows:
        stamps = torch.randint(0, 5 * SECOND, (batch, rows), generator=random).sort(1).values
        values = torch.randn(batch, rows, channels, generator=random, dtype=torch.float64) * 3
        return SensorRows(values, torch.rand(batch, rows, generator=random) > 0.2, torch.ones(batch, rows), stamps)

    return {"gnss": stream(6, 2), "radar": stream(9, 1)}


def events(rows: dict[str, SensorRows], b: int) -> list[tuple[int, int, int, str]]:
    return sorted(
        (int(row.stamps[b, t]), order, t, name)
        for order, (name, row) in enumerate(rows.items())
        for t in range(row.mask.shape[1])
        if row.mask[b, t]
    )


def oracle(model: KalmanFilter, rows: dict[str, SensorRows], b: int):
    """Filter and smooth one row by the textbook, in numpy."""
    x, P, now = model.init_state(1).mean[0].numpy(), model.start.matrix().numpy(), 0
    kept = []
    for stamp, _, t, name in events(rows, b):
        dt = (stamp - now) / 1e9
        F = np.eye(4) + dt * np.array(RATE)
        Q = model.motion.noise(torch.tensor([dt], dtype=torch.float64))[0].numpy()
        ahead, P_ahead = F @ x, F @ P @ F.T + Q
        H, R = np.array(model.sensors[name].matrix), model.sensors[name].noise.matrix().numpy()
        S = H @ P_ahead @ H.T + R
        K = P_ahead @ H.T @ np.linalg.inv(S)
        x, P = ahead + K @ (rows[name].values[b, t].numpy() - H @ ahead), P_ahead - K @ S @ K.T
        kept.append((x, P, F, ahead, P_ahead))
        now = stamp
    smooth = [(x, P)]
    for k in range(len(kept) - 2, -1, -1):
        x, P, _, _, _ = kept[k]
        _, _, F, ahead, P_ahead = kept[k + 1]
        C = P @ F.T @ np.linalg.inv(P_ahead)
        smooth.append((x + C @ (smooth[-1][0] - ahead), P + C @ (smooth[-1][1] - P_ahead) @ C.T))
    return kept, smooth[::-1]


@torch.no_grad()
def test_filter_and_smoother_equal_the_textbook():
    model, rows = make(), random_rows(3)
    run = model.run(rows, 5 * SECOND)
    smoothed = model.smooth(run)
    for b in range(3):
        kept, smooth = oracle(model, rows, b)
        assert len(kept) == int(run.timeline.mask[b].sum())
        for k, (x, P, *_) in enumerate(kept):
            np.testing.assert_allclose(run.mean[b, k].numpy(), x, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(run.covariance[b, k].numpy(), P, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(smoothed.mean[b, k].numpy(), smooth[k][0], rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose(smoothed.covariance[b, k].numpy(), smooth[k][1], rtol=1e-8, atol=1e-8)


def test_kernels_and_reference_agree_with_and_without_gradients():
    model, rows = make(gate=0.95), random_rows(4)
    taught = model.run(rows, 5 * SECOND)
    with torch.no_grad():
        plain = model.run(rows, 5 * SECOND)
    assert taught.mean.requires_grad and not plain.mean.requires_grad
    torch.testing.assert_close(taught.mean, plain.mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(taught.covariance, plain.covariance, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_float32_is_near_float64():
    rows = random_rows(4)
    wide, narrow = make().run(rows, 5 * SECOND), make(dtype=torch.float32).run(rows, 5 * SECOND)
    assert narrow.mean.dtype == torch.float32
    torch.testing.assert_close(narrow.mean.double(), wide.mean, rtol=1e-5, atol=3e-5)
    torch.testing.assert_close(narrow.covariance.double(), wide.covariance, rtol=1e-5, atol=3e-5)


@torch.no_grad()
def test_the_extended_filter_is_the_same_on_linear_models():
    model, rows = make(), random_rows(2)
    other = ExtendedKalmanFilter(model.motion, model.sensors, model.start, model.mean).double()
    torch.testing.assert_close(model.run(rows, 5 * SECOND).mean, other.run(rows, 5 * SECOND).mean)


@torch.no_grad()
def test_rows_of_a_batch_do_not_know_of_each_other():
    model, rows = make(), random_rows(3)
    order = [2, 0, 1]
    turned = {n: SensorRows(*(v[order] for v in (r.values, r.mask, r.gaps, r.stamps))) for n, r in rows.items()}
    for a, b in zip(model.run(rows, 5 * SECOND).state, model.run(turned, 5 * SECOND).state, strict=True):
        torch.testing.assert_close(a[order], b, rtol=1e-12, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prepared_loop_equals_predict_and_update(dtype: torch.dtype):
    model = make(gate=0.99, dtype=dtype)
    step, state = model.prepare("gnss", 0.1), model.init_state(2)
    x, P = state.mean, state.covariance
    random = torch.Generator().manual_seed(1)
    for _ in range(20):
        z = torch.randn(2, 2, generator=random, dtype=dtype) * 5
        x, P = step(x, P, z)
        state, _ = model.update(model.predict(state, x.new_full((2,), 0.1)), "gnss", z)
    torch.testing.assert_close(x, state.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(P, state.covariance, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_motion_is_exact_over_any_time():
    turn = LinearMotion([[0.0, -2.0], [2.0, 0.0]], RandomWalk([0.1, 0.1])).double()
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for seconds in (0.0, 0.3, 3600.0):
        wanted = torch.tensor([[math.cos(2 * seconds), math.sin(2 * seconds)]], dtype=torch.float64)
        torch.testing.assert_close(turn(x, torch.tensor([seconds])), wanted, rtol=1e-7, atol=1e-7)
    step = StepMotion([[1.0, 1.0], [0.0, 1.0]], ConstantNoise([0.1, 0.1]))
    model = KalmanFilter(
        step, {"z": LinearSensor([[1, 0]], ConstantNoise([1.0]))}, ConstantNoise([1.0, 1.0]), [0.0, 1.0]
    )
    state = model.init_state(2)
    after = model.predict(state, torch.tensor([0.0, 0.25]))
    assert after.mean.tolist() == [[0.0, 1.0], [1.0, 1.0]]
    assert torch.equal(after.covariance[0], state.covariance[0])


def test_a_filter_can_be_written_down_and_built_again():
    model, rows = make(gate=0.9), random_rows(1)
    again = rebuild(describe(model)).double()
    assert isinstance(again, KalmanFilter) and again.gate == 0.9
    torch.testing.assert_close(again.run(rows, 5 * SECOND).mean, model.run(rows, 5 * SECOND).mean)


def test_bad_input_is_named():
    noise = ConstantNoise([1.0])
    with pytest.raises(ValueError, match="square"):
        LinearMotion([[0.0, 1.0]], noise)
    with pytest.raises(ValueError, match="describe one state"):
        LinearMotion([[0.0, 1.0], [0.0, 0.0]], noise)
    with pytest.raises(ValueError, match="finite"):
        LinearMotion([[math.nan]], noise)
    with pytest.raises(ValueError, match="one for each row"):
        LinearSensor([[1.0], [2.0]], noise)
    motion, start = LinearMotion([[0.0]], RandomWalk([1.0])), ConstantNoise([1.0])
    with pytest.raises(ValueError, match="has 2 columns"):
        KalmanFilter(motion, {"z": LinearSensor([[1.0, 0.0]], noise)}, start)
    with pytest.raises(TypeError, match="ExtendedKalmanFilter"):
        KalmanFilter(Bent(), {"z": LinearSensor([[1.0]], noise)}, start)
    model = KalmanFilter(motion, {"z": LinearSensor([[1.0]], noise)}, start)
    with pytest.raises(ValueError, match="'y' is not known"):
        model.prepare("y", 1.0)
    with pytest.raises(ValueError, match="more than 0"):
        model.prepare("z", 0.0)
