"""Random calls of the native library in every instruction set; run under a sanitizer by test_native_sanitized.py."""

import random
import sys

import numpy as np
import torch

from mambats.bundle.flat import FlatForecaster
from mambats.bundle.loss import round_weights
from mambats.bundle.native import layers_of
from mambats.bundle.native_file import native_file
from mambats.bundle.rebuild import arrays_of
from mambats.encoders import CausalEncoder
from mambats.forecast import Cycle, DirectHead, Forecaster, LinearSkip
from mambats.forecast.task import ForecastTask
from mambats.mixers import MambaSettings
from mambats.preprocess.imu import Preintegration
from mambats.scale import RunningNorm
from mambats.streaming.engine import StepEvent
from mambats.streaming.engines.native import NativeEngine
from mambats_kernels import causal_conv, causal_conv_step, native, selective_scan, selective_step
from mambats_kernels.backend import use_backend
from mambats_kernels.causal_conv import cases as conv_cases
from mambats_kernels.selective_scan import cases as scan_cases

CPU, choose = torch.device("cpu"), random.Random(0)


def coin():
    return choose.random() < 0.5


def sizes(most):
    """Rows and tokens, and the lengths of packed sequences or None."""
    lengths = tuple(choose.choices(range(20), k=3)) if coin() else None
    if lengths:
        return 1, sum(lengths) + choose.randint(1, 3), lengths
    return choose.randint(1, 3), choose.randint(1, most), None


def differentiate(operation, made):
    # In memory of just its size, so that one byte further is found.
    made = {name: value.clone() if torch.is_tensor(value) else value for name, value in made.items()}
    leaves = {n: v.requires_grad_() for n, v in made.items() if torch.is_tensor(v) and v.is_floating_point()}
    y, final = operation(**{**made, **leaves})
    torch.autograd.grad(y.sum() + final.sum(), list(leaves.values()), allow_unused=True)


def scan(seed):
    (rows, tokens, lengths), groups = sizes(70), choose.choice([1, 2, 3])
    shape = (rows, tokens, choose.randint(1, 37) * groups, choose.choice([1, 3, 16, 17, 40]))
    options = {"groups": groups, "lengths": lengths, "hold": coin(), "reverse": coin(), "plain": coin()}
    differentiate(selective_scan, scan_cases.arguments(seed, torch.float32, CPU, shape=shape, **options))


def conv(seed):
    rows, tokens, lengths = sizes(300)
    shape = (rows, tokens, choose.randint(1, 37), choose.randint(1, 9))
    options = {"lengths": lengths, "reverse": coin(), "plain": coin()}
    differentiate(causal_conv, conv_cases.arguments(seed, torch.float32, CPU, shape=shape, **options))


@torch.no_grad()
def step():
    batch, width, size, taps = (choose.randint(1, most) for most in (9, 37, 33, 6))
    mask = torch.rand(batch) > 0.4 if coin() else None
    x, b = torch.randn(batch, width), torch.randn(batch, size)
    options = {"D": x[0].clone(), "z_t": x, "gap_t": torch.rand(batch), "hold": coin(), "mask": mask}
    state = torch.randn(batch, width, size)
    selective_step(x, x, -torch.rand(width, size), b, b, state=state, dt_softplus=True, **options)
    causal_conv_step(x, torch.randn(width, taps), state=torch.randn(batch, taps - 1, width), mask=mask)


@torch.no_grad()
def stack():
    size, expand, taps, rank = choose.choice([1, 5, 16, 33]), *(choose.randint(low, 4) for low in (1, 0, 1))
    settings = MambaSettings(size, expand, taps, rank, hold=coin())
    width, channels, batch = choose.randint(2, 37), choose.randint(1, 5), choose.randint(1, 9)
    encoder = CausalEncoder(channels, width, 2, mixer=settings).eval()
    state = encoder.init_state(batch)
    for _ in range(3):
        observed, mask = torch.rand(batch, channels) > 0.3, torch.rand(batch) > 0.3
        given = {"gap_t": torch.rand(batch), "observed_t": observed, "mask_t": mask}
        given = {name: value for name, value in given.items() if coin()}
        _, state = encoder.step(torch.randn(batch, channels), **given, state=state)
    if encoder._native._plan is None:
        raise SystemExit("the native step did not run")


def imu():
    batch, length, dtype = choose.randint(0, 35), choose.randint(1, 40), choose.choice([torch.float32, torch.float64])
    gyro, force = (torch.randn(batch, length, 3, dtype=dtype) * choose.choice([1, 1000]) for _ in range(2))
    Preintegration(errors=coin())(
        gyro, force, torch.rand(batch, length, dtype=dtype), torch.randn(batch, 6, dtype=dtype)
    )


def forecaster(seed):
    """A forecaster of any options, read from its flat file."""
    draw = np.random.default_rng(seed)
    mixing, channels, horizon = coin(), choose.randint(1, 3), choose.randint(1, 5)
    levels = choose.choice([None, (0.5,), (0.1, 0.5, 0.9)])
    settings = MambaSettings(choose.choice([1, 5, 16]), 2, choose.randint(0, 4), choose.randint(1, 4), hold=coin())
    width = choose.randint(2, 20)
    model = Forecaster(
        CausalEncoder(channels if mixing else 1, width, 2, mixer=settings, final_norm=coin()),
        DirectHead(width, horizon, quantiles=levels, outputs=channels if mixing else 1),
        RunningNorm(24, 24),
        LinearSkip(choose.randint(1, 6), horizon) if coin() else None,
        mixing=mixing,
        series_channels=0 if mixing or coin() else channels,
        cycle=Cycle(24, channels) if coin() else None,
    )
    task = ForecastTask(model)
    task.adopt(tuple("abc"[:channels]), 3600 * 10**9)
    flat = FlatForecaster.of(task.eval(), {})
    stored = choose.choice(["float32", "bf16", "int8"])
    round_weights(flat, stored)
    kept = arrays_of(flat)
    weights = {name[7:]: v for name, v in kept.items() if name.startswith("weight.")}
    initial = {name[8:]: v for name, v in kept.items() if name.startswith("initial.")}
    body = native_file(flat.facts.plain(), layers_of(flat), weights, initial, stored)
    engine, rows = NativeEngine(body, flat.facts, "", initial), choose.choice([1, 3, 17, 40])
    state = engine.init_state(rows)
    for _ in range(3):
        shape = (rows, channels)
        event = StepEvent(draw.standard_normal(shape).astype("f4"), draw.random(shape) < 0.8, draw.random(rows) < 0.8)
        _, state = engine.step({"series": event}, draw.integers(0, 10**14, rows), state)


if __name__ == "__main__":
    torch.set_num_threads(2)
    with use_backend("native"):
        for level in (0, 1, 2):
            if native.library.mambats_use_instructions(level) == 0:
                for seed in range(int(sys.argv[1])):
                    scan(seed), conv(seed), step(), stack(), imu(), forecaster(seed)
                print("clean", level, flush=True)
