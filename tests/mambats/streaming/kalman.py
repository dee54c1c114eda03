"""A fitted model behind a stream: a Kalman filter of a body in the plane, and a body that moves as it believes.

Acceleration wanders (a Wiener process); `accel` measures it at 100 Hz, `fix` the position at 10 Hz, with known noise.
"""

import numpy as np

from mambats.streaming import Packet

MS = 1_000_000
WANDER, ACCEL, FIX = 0.5, 0.2, 0.5  # m/s^2/sqrt(s); m/s^2; m


class Filter:
    """State per row: means (3, 2) of position, velocity, acceleration by axis, and their covariance (3, 3), float64."""

    streams = {"accel": 2, "fix": 2}
    outputs = {"position": (2,), "nis_accel": (), "nis_fix": ()}
    identity = "filter"

    def init_state(self, rows):
        return {"mean": np.zeros((rows, 3, 2)), "covariance": np.tile(np.diag([1.0, 1.0, 1.0]), (rows, 1, 1))}

    def step(self, events, elapsed_ns, state):
        mean, covariance = predict(state["mean"], state["covariance"], elapsed_ns / 1e9)
        outputs, here = {}, np.zeros(len(elapsed_ns), bool)
        for name, at, noise in (("accel", 2, ACCEL), ("fix", 0, FIX)):
            outputs[f"nis_{name}"] = np.full(len(here), np.nan)
            if name in events:
                values, _, mask = events[name]
                after, spread, nis = update(mean, covariance, values, at, noise)
                mean = np.where(mask[:, None, None], after, mean)
                covariance = np.where(mask[:, None, None], spread, covariance)
                outputs[f"nis_{name}"], here = np.where(mask, nis, np.nan), here | mask
        keep = here[:, None, None]
        after = {
            "mean": np.where(keep, mean, state["mean"]),
            "covariance": np.where(keep, covariance, state["covariance"]),
        }
        return {"position": after["mean"][:, 0].copy(), **outputs}, after


def transition(t):
    one, zero = np.ones_like(t), np.zeros_like(t)
    moved = np.stack([one, t, t**2 / 2, zero, one, t, zero, zero, one], -1).reshape(-1, 3, 3)
    noise = [t**5 / 20, t**4 / 8, t**3 / 6, t**4 / 8, t**3 / 3, t**2 / 2, t**3 / 6, t**2 / 2, t]
    return moved, WANDER**2 * np.stack(noise, -1).reshape(-1, 3, 3)


def predict(mean, covariance, seconds):
    moved, noise = transition(seconds)
    return moved @ mean, moved @ covariance @ moved.transpose(0, 2, 1) + noise


def update(mean, covariance, values, at, noise):
    """Joseph form; both axes share the covariance."""
    spread = covariance[:, at, at] + noise**2
    residual = values - mean[:, at]
    gain = covariance[:, :, at] / spread[:, None]
    left = np.eye(3) - gain[:, :, None] * np.eye(3)[at]
    after = left @ covariance @ left.transpose(0, 2, 1) + noise**2 * gain[:, :, None] * gain[:, None, :]
    return mean + gain[:, :, None] * residual[:, None, :], after, (residual**2).sum(1) / spread


def drive(seconds, seed):
    """Packets in order, and the true position at each stamp."""
    random, count, dt = np.random.default_rng(seed), seconds * 100, 0.01
    state, truth, packets = random.normal(size=(3, 2)), {}, []  # as the filter's first covariance says
    moved, noise = (part[0] for part in transition(np.array([dt])))
    root = np.linalg.cholesky(noise)
    for at in range(1, count + 1):
        state = moved @ state + root @ random.normal(size=(3, 2))
        stamp = at * 10 * MS
        truth[stamp] = state[0].copy()
        packets.append(Packet("accel", stamp, (state[2] + ACCEL * random.normal(size=2)).astype(np.float32)))
        if at % 10 == 0:
            packets.append(Packet("fix", stamp, (state[0] + FIX * random.normal(size=2)).astype(np.float32)))
    return packets, truth
