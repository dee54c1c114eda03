"""The batch path against stepping event by event, and against the truth."""

import pytest
import torch

from mambats.estimators.inertial import Gate
from mambats.preprocess.imu import so3
from tests.mambats.estimators.inertial_case import asking, drive, navigator, started


def by_events(model, rows, length_ns, state):
    """predict and update, row by row, in the order (stamp, order of streams)."""
    batch, now, states = len(state.bias), 0, []
    for stamp in sorted({s for r in rows.values() for s in r.stamps[r.mask].tolist()} | {length_ns}):
        state = model.predict(state, torch.full((batch,), (stamp - now) * 1e-9, dtype=state.bias.dtype))
        now, told = stamp, False
        for name in model.streams:
            if name in rows and (here := (rows[name].stamps == stamp) & rows[name].mask).any():
                value = rows[name].values[torch.arange(batch), here.long().argmax(1)]
                state, _ = model.update(state, name, value.to(state.bias.dtype), mask=here.any(1))
                told |= name != "imu"
        states += [state] if told else []
    return states, state


def apart(state, other):
    """Largest difference of two states in standard deviations."""
    deviation = other.covariance.diagonal(dim1=-2, dim2=-1).sqrt()[:, 3:15]
    parts = (state.velocity - other.velocity, state.position - other.position, state.bias - other.bias)
    return float((torch.cat(parts, -1) / deviation).abs().max())


@pytest.mark.parametrize("offset", [0.0, 0.0013])
def test_run_equals_events(offset):
    made, rows, length = drive(batch=2, clocks={"gnss": (offset, 50)}, seconds=1.0)
    settings = dict(latency=0.1, mounts={"gnss": (0.3, 0.1, 0.5), "wheel": (0.1, 0, 0)}, gate=Gate(1.0))
    model = navigator("gnss", "wheel", "scale", "wander", **settings)
    start = started(model, made.motion)
    with torch.no_grad():
        track, end = model.run(rows, length, start)
        states, last = by_events(model, rows, length, start)
    assert track.mask.all() and track.position.shape[1] == len(states)
    # A bias that is learned in the window enters the sums to first order; 3e-5 measured.
    assert apart(end, last) < 1e-3
    middle = len(states) // 2
    assert (track.position[:, middle] - states[middle].position).abs().max() < 1e-4


def test_run_equals_events_to_rounding_where_the_bias_is_known():
    made, rows, length = drive(batch=2, seconds=0.6, imu="ideal")
    model = navigator("gnss", "wheel", gate=Gate(1.0))
    with torch.no_grad():
        model.noises["imu"].log_density[2:] = -40.0
        start = started(model, made.motion)
        start.covariance[:, 9:, 9:] *= 1e-20
        track, end = model.run(rows, length, start)
        states, last = by_events(model, rows, length, start)
    for fast, slow in zip(end, last, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(track.covariance[:, -1], states[-1].covariance, rtol=1e-9, atol=1e-12)


def test_windows_in_turn_equal_one():
    made, rows, length = drive(batch=2, seconds=1.0)
    model, half = navigator("gnss", "wheel", gate=Gate(1.0)), length // 2

    def cut(r, begin, end):
        return type(r)(r.values, r.mask & (r.stamps > begin) & (r.stamps <= end), r.gaps, r.stamps - max(begin, 0))

    with torch.no_grad():
        start = started(model, made.motion)
        _, whole = model.run(rows, length, start)
        first = {n: cut(r, -1, half) for n, r in rows.items()}
        _, middle = model.run(first, half, start)
        _, end = model.run({n: cut(r, half, length) for n, r in rows.items()}, half, middle)
    assert apart(end, whole) < 1e-3


@pytest.mark.parametrize(("kind", "limit"), [("robot", 0.02), ("drone", 0.1)])
def test_ideal_readings_return_the_trajectory(kind, limit):
    # Readings are of an instant: put to the middle of what they hold, the error is of second order.
    made, rows, length = drive(seconds=10.0, kind=kind, imu="ideal", shift_ns=2_500_000)
    model = navigator()
    rows = {"imu": rows["imu"], "ask": asking(3, range(10**9, length + 1, 10**9))}
    with torch.no_grad():
        track, _ = model.run(rows, length, started(model, made.motion))
    truth = made.trajectory(track.stamps.double() * 1e-9)
    assert (track.position - truth.position).norm(dim=-1).max() < limit
    turn = so3.product(so3.conjugate(track.quaternion), truth.quaternion)
    assert turn[..., :3].norm(dim=-1).max() < 1e-3


def test_own_clocks_and_shared_ones_agree():
    # With stamps of its own each body is at its own k-th moment; on one clock moments are shared.
    made, rows, length = drive(batch=4, seconds=2.0)
    model = navigator("gnss", "wheel")
    start = started(model, made.motion)
    moved = {n: type(r)(r.values, r.mask, r.gaps, r.stamps + torch.arange(4)[:, None]) for n, r in rows.items()}
    with torch.no_grad():
        _, shared = model.run(rows, length + 4, start)
        _, own = model.run(moved, length + 4, start)
    torch.testing.assert_close(own.position, shared.position, rtol=0, atol=1e-6)


def test_averaged_wheel_is_near_each_row():
    made, rows, length = drive(batch=2, seed=4, seconds=3.0)
    names, gate = ("gnss", "wheel", "rolling", "scale", "wander"), Gate(1.0)
    rolled = rows["wheel"]
    rows["rolling"] = type(rolled)(torch.zeros_like(rolled.values), rolled.mask, rolled.gaps, rolled.stamps)
    start = started(navigator(*names), made.motion)
    with torch.no_grad():
        _, each = navigator(*names, gate=gate).run(rows, length, start)
        track, mean = navigator(*names, gate=gate, wheel_period=0.1).run(rows, length, start)
    assert track.position.shape[1] <= 45

    assert (each.position - mean.position).norm(dim=-1).max() < 0.05


def test_gradients_flow_to_noise_latency_and_readings():
    made, rows, length = drive(seconds=1.0)
    model = navigator("gnss", "wheel", "wander", latency=0.05)
    start = started(model, made.motion)
    values = rows["imu"].values.clone().requires_grad_()
    imu = type(rows["imu"])(values, rows["imu"].mask, rows["imu"].gaps, rows["imu"].stamps)
    track, _ = model.run(rows | {"imu": imu}, length, start)
    innovation = track.innovations["gnss"]
    loss = -(innovation.log_likelihood * innovation.used).sum() + track.position.square().mean()
    loss.backward()
    assert values.grad.isfinite().all() and values.grad.abs().sum() > 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert model.delay.grad.abs() > 0


@pytest.mark.gpu
def test_a_gpu_gives_the_same_numbers():
    made, rows, length = drive(batch=4, seconds=2.0)
    model = navigator("gnss", "wheel", "rolling", "scale", "wander", wheel_period=0.1)
    start = started(model, made.motion)
    with torch.no_grad():
        track, end = model.run(rows, length, start)
        there = {name: one.to("cuda") for name, one in rows.items()}
        fast, last = model.cuda().run(there, length, type(start)(*(part.cuda() for part in start)))
    for ours, theirs in zip((*end, track.position), (*last, fast.position), strict=True):
        torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-6, atol=1e-8)
