import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mambats.estimators import Attitude, GyroBias
from mambats.estimators.low_pass import LowPass
from mambats.preprocess.imu.so3 import running_product

RATE = 100.0
DEGREE = np.pi / 180


def moves(seconds=60.0, seed=0, bias=(0.3, -0.2, 0.1), noise=0.0):
    """A sensor that turns and is shaken: gyro, force, magnetometer (1, T, 3), true attitude; bias in degrees/s."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    waves = [rng.normal(size=(3, 3)), rng.uniform(0.1, 1.0, (3, 3)), rng.uniform(0, 7, (3, 3))]
    rates = sum(waves[0][k] * np.sin(2 * np.pi * waves[1][k] * time[:, None] + waves[2][k]) for k in range(3))
    shaken = 2 * np.sin(2 * np.pi * rng.uniform(0.5, 2, 3) * time[:, None] + waves[2][0])
    steps = torch.tensor(Rotation.from_rotvec(rates / RATE).as_quat()).T[None]
    turns = Rotation.random(random_state=rng) * Rotation.from_quat(running_product(steps)[0].T.numpy())
    force = turns.inv().apply(shaken + np.array([0, 0, 9.81]))
    field = turns.inv().apply(np.tile([0.0, 20.0, -40.0], (len(time), 1)))
    gyro = rates + np.array(bias) * DEGREE + noise * rng.normal(size=rates.shape)
    return *(torch.tensor(part)[None] for part in (gyro, force, field)), turns


def inclination(made, truth):
    """Degrees, whatever the heading."""
    error = (Rotation.from_quat(made[0].numpy()) * truth.inv()).as_quat()
    return np.degrees(2 * np.arccos(np.clip(np.hypot(error[:, 2], error[:, 3]), 0, 1)))


def heading(made, truth):
    error = (Rotation.from_quat(made[0].numpy()) * truth.inv()).as_quat()
    return np.degrees(2 * np.arctan2(error[:, 2], error[:, 3]) + np.pi) % 360 - 180


@settings(max_examples=8)
@given(st.integers(0, 1000), st.lists(st.integers(0, 40), min_size=1, max_size=6), st.booleans())
def test_chunks_and_steps_give_the_same(seed, cuts, magnetic):
    some = [moves(3.0, seed + k, noise=0.01) for k in range(2)]
    gyro, force, field = (torch.cat([one[k] for one in some]) for k in range(3))
    gyro, force, field = gyro[:, : sum(cuts) + 30], force[:, : sum(cuts) + 30], field[:, : sum(cuts) + 30]
    method = Attitude(RATE, tau=0.5, bias=GyroBias(initial=0.02))
    whole = method(gyro, force, field if magnetic else None)
    state, parts, at = method.start(2), [], 0
    for cut in cuts:
        part = slice(at, at + cut)
        made, state = method.transform(gyro[:, part], force[:, part], state, field[:, part] if magnetic else None)
        parts.append(made)
        at += cut
    for t in range(at, gyro.shape[1]):
        made, state = method.step(gyro[:, t], force[:, t], state, field[:, t] if magnetic else None)
        parts.append(type(made)(*(part[:, None] for part in made)))
    for name in ("quaternion", "bias", "resting"):
        joined = torch.cat([getattr(part, name) for part in parts], 1)
        assert (joined.double() - getattr(whole, name).double()).abs().max() < 1e-10


def test_batch_is_each_alone():
    some = [moves(4.0, seed) for seed in range(3)]
    method = Attitude(RATE)
    together = method(*(torch.cat([one[k] for one in some]) for k in range(2)))
    for k, one in enumerate(some):
        alone = method(one[0], one[1])
        assert (together.quaternion[k] - alone.quaternion[0]).abs().max() < 1e-12


def test_finds_up_north_and_the_bias():
    gyro, force, field, truth = moves(60.0)
    made = Attitude(RATE)(gyro, force, field)
    late = slice(4000, None)
    assert inclination(made.quaternion, truth)[late].mean() < 0.4
    assert np.abs(heading(made.quaternion, truth)[late]).mean() < 1.0
    off = made.bias[0, -1].numpy() / DEGREE - [0.3, -0.2, 0.1]
    assert np.abs(off).max() < 0.1  # what it settles at while moving
    without = Attitude(RATE, bias=GyroBias(initial=1e-9, wander=1e-9))(gyro, force)
    assert inclination(without.quaternion, truth)[late].mean() > 2 * inclination(made.quaternion, truth)[late].mean()


def test_rest_shows_the_whole_bias():
    gyro = torch.tensor([0.4, -0.5, 0.6], dtype=torch.float64).mul(DEGREE).expand(1, 2000, 3)
    force = torch.tensor([0.0, 0.0, 9.81], dtype=torch.float64).expand(1, 2000, 3)
    made = Attitude(RATE)(gyro, force)
    assert not made.resting[0, : round(1.4 * RATE)].any() and made.resting[0, round(1.6 * RATE) :].all()
    assert (made.bias[0, -1] / DEGREE - torch.tensor([0.4, -0.5, 0.6])).abs().max() < 0.02


@pytest.mark.parametrize("force", [(0, 0, -9.81), (9.81, 0, 0), (0, 0, 9.81), (0, -1e-13, -9.81)])
def test_any_first_pose(force):
    still = torch.zeros(1, 5, 3, dtype=torch.float64)
    made = Attitude(RATE)(still, torch.tensor(force, dtype=torch.float64).expand(1, 5, 3)).quaternion
    up = Rotation.from_quat(made[0].numpy()).apply(np.array(force) / 9.81)
    assert np.abs(up - [0, 0, 1]).max() < 1e-6


def test_low_pass_is_scipys_after_its_start():
    from scipy.signal import butter, lfilter, lfilter_zi

    tau, rows = 0.3, torch.randn(1, 500, 2, dtype=torch.float64)
    low = LowPass(tau, RATE, 64)
    state, parts = low.start(1, 2, rows), []
    for part in rows.split(37, 1):
        made, state = low(part, state)
        parts.append(made)
    made = torch.cat(parts, 1)[0].numpy()
    b, a = butter(2, np.sqrt(2) / (2 * np.pi * tau), fs=RATE)
    first = rows[0, :30].mean(0).numpy()
    rest, _ = lfilter(b, a, rows[0, 30:].numpy(), axis=0, zi=lfilter_zi(b, a)[:, None] * first)
    assert np.abs(made[30:] - rest).max() < 1e-10
    assert np.abs(made[29] - first).max() < 1e-12


def test_float32_and_gradients():
    gyro, force, _, _ = moves(3.0)
    exact = Attitude(RATE)(gyro, force).quaternion
    near = Attitude(RATE)(gyro.float(), force.float()).quaternion
    assert near.dtype == torch.float32 and (near - exact).abs().max() < 1e-4
    gyro = gyro[:, :60].clone().requires_grad_()
    Attitude(RATE)(gyro, force[:, :60]).quaternion[0, -1, 0].backward()
    assert torch.isfinite(gyro.grad).all() and gyro.grad.abs().max() > 0


def test_refusals():
    good = torch.zeros(1, 4, 3)
    with pytest.raises(ValueError, match="rate is 0"):
        Attitude(0)
    with pytest.raises(ValueError, match=r"need the same dtype and \(B, T, 3\)"):
        Attitude(RATE)(good, good[:, :3])
    bad = good.clone()
    bad[0, 2, 1] = torch.nan
    with pytest.raises(ValueError, match="accelerometer of sensor 0 .* at row 2"):
        Attitude(RATE)(good, bad)
    assert Attitude(RATE)(good[:, :0], good[:, :0]).quaternion.shape == (1, 0, 4)


def test_it_is_as_good_as_vqf():
    vqf = pytest.importorskip("vqf")
    gyro, force, _, truth = moves(60.0, noise=0.01)
    theirs = vqf.VQF(1 / RATE).updateBatch(gyro[0].numpy().copy(), force[0].numpy().copy())
    ours = inclination(Attitude(RATE)(gyro, force).quaternion, truth)[1000:]
    other = inclination(torch.tensor(theirs["quat6D"])[None, :, [1, 2, 3, 0]], truth)[1000:]
    assert abs(np.sqrt((ours**2).mean()) - np.sqrt((other**2).mean())) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trial", "bar"), [("10_undisturbed_slow_translation_A", 0.30), ("15_undisturbed_fast_translation_A", 0.475)]
)
def test_broad(data_root, trial, bar):
    from mambats.formats import read_broad

    file = data_root / "fusion" / "broad" / f"{trial}.mat"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    held = read_broad(file)
    values = torch.tensor(held.streams["imu"].values)[None]
    made = Attitude(float(held.static["rate"]))(values[..., :3], values[..., 3:]).quaternion
    pose = held.truth["pose"]
    scored = held.truth["movement"].values[:, 0].astype(bool) & np.isfinite(pose.values).all(1)
    if pose.observed is not None:
        scored &= pose.observed.all(1)
    error = inclination(made[:, scored], Rotation.from_quat(pose.values[scored, 3:]))
    assert np.sqrt((error**2).mean()) < bar
