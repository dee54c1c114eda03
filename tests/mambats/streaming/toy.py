"""A small engine that obeys the law, and packets for it: a leaky integrator over an inertial sensor and a position."""

import numpy as np

from mambats.streaming import Packet

MS = 1_000_000
STREAMS = {"imu": 3, "gnss": 2, "query": 0}


class Leaky:
    """State x leaks with time and takes in each stream through its own weights; tanh keeps it from being linear."""

    outputs = {"level": (4,), "nis_gnss": ()}

    def __init__(self, streams=STREAMS, dtype=np.float32, seed=0, tau_ns=100 * MS):
        self.streams, self.dtype, self.tau, self.identity = dict(streams), dtype, tau_ns, f"leaky-{seed}"
        random = np.random.default_rng(seed)
        self.weights = {name: random.normal(size=(size, 4)).astype(dtype) for name, size in self.streams.items()}
        self.steps = 0

    def init_state(self, rows):
        return {"x": np.zeros((rows, 4), self.dtype), "count": np.zeros((rows,), np.int64)}

    def step(self, events, elapsed_ns, state):
        self.steps += 1
        rows = len(elapsed_ns)
        present = np.zeros(rows, bool)
        x = state["x"] * np.exp(-elapsed_ns / self.tau).astype(self.dtype)[:, None]
        nis = np.full(rows, np.nan, self.dtype)
        for name in self.streams:
            if name not in events:
                continue
            values, observed, mask = events[name]
            if name == "gnss":
                nis = np.where(mask, (np.where(observed, values - x[:, :2], 0) ** 2).sum(1), nan32(nis))
            gain = np.where(observed, values, 0).astype(self.dtype)
            # Summed in a fixed order, so that a robot in a batch has the bits it has alone.
            push = sum((gain[:, c : c + 1] * self.weights[name][c] for c in range(gain.shape[1])), np.zeros_like(x))
            x = np.where(mask[:, None], x + push - 0.1 * np.tanh(x), x)
            present |= mask
        after = {
            "x": np.where(present[:, None], x, state["x"]),
            "count": state["count"] + present,
        }
        return {"level": np.where(present[:, None], after["x"], 0), "nis_gnss": nis}, after


def nan32(array):
    return np.full_like(array, np.nan)


class Lookback(Leaky):
    """Answers for the last three moments, one moment late: the mean of a moment and its neighbours."""

    outputs = {"mean": (1,), "age_ns": (1,)}

    def init_state(self, rows):
        return {"last": np.zeros((rows, 2), self.dtype), "gap": np.zeros(rows, np.int64), "n": np.zeros(rows, np.int64)}

    def step(self, events, elapsed_ns, state):
        values, _, mask = events["imu"]
        now = values[:, 0]
        mean = (state["last"].sum(1) + now) / 3
        age = np.where(state["n"] > 0, elapsed_ns, -1)
        after = {
            "last": np.where(mask[:, None], np.stack([state["last"][:, 1], now], 1), state["last"]),
            "gap": np.where(mask, elapsed_ns, state["gap"]),
            "n": state["n"] + mask,
        }
        return {"mean": mean[:, None, None], "age_ns": age[:, None]}, after


def packets(count=200, seed=0, row=0, imu_ns=5 * MS, gnss_ns=50 * MS, jitter_ns=MS, start_ns=0):
    """An inertial sensor at 200 Hz and a position at 20 Hz with jitter, in order; sequence numbers by stream."""
    random = np.random.default_rng([seed, row])
    found = []
    for name, period in (("imu", imu_ns), ("gnss", gnss_ns)):
        number = max(1, round(count * imu_ns / period / 1.1))
        stamps = start_ns + period * np.arange(number) + random.integers(0, jitter_ns + 1, number)
        values = random.normal(size=(number, STREAMS[name])).astype(np.float32)
        found += [Packet(name, int(s), v, row, n) for n, (s, v) in enumerate(zip(stamps, values, strict=True))]
    return sorted(found, key=lambda packet: packet.stamp_ns)


def run(runner, given, flush=True):
    """Push one by one; return all answers."""
    answers = [answer for packet in given for answer in runner.push(*packet)]
    return answers + (runner.flush() if flush else [])


def settled(answers):
    """Settled answers as (row, seq, stamp, numbers)."""
    return [
        (a.row, a.seq, a.stamp_ns, *(float(x) for x in a.outputs["level"]), *a.streams) for a in answers if a.settled
    ]


def shuffled(given, within_ns, seed=0):
    """The order of arrival where each packet is delayed by up to `within_ns`."""
    random = np.random.default_rng(seed)
    delays = random.integers(0, within_ns + 1, len(given))
    order = sorted(range(len(given)), key=lambda i: (given[i].stamp_ns + delays[i], i))
    return [given[i] for i in order]
