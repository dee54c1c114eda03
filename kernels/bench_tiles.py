"""Which tile of the convolution is fastest on this GPU? Prints the best ones a shape, and what calls cost the host.

    python kernels/bench_tiles.py            # all tiles, about two minutes
    python kernels/bench_tiles.py --host     # only the host's time a call: convolution, both steps, captured step

Device time is that of a graph of launches over inputs in rotation, so that none is found in the second cache.
"""

import argparse
import itertools
import time
from functools import partial

import torch

from mambats_kernels.causal_conv.cuda import launch, plan
from mambats_kernels.causal_conv.cuda.op import cuda_conv
from mambats_kernels.causal_conv.cuda.step import cuda_conv_step
from mambats_kernels.causal_conv.cuda.tile import Tile
from mambats_kernels.selective_step.cuda.launch import cuda_step

DEVICE = torch.device("cuda", 0)
SHAPES = ((8, 2048, 1536), (64, 512, 256), (256, 96, 128))
# Threads of a block and blocks of a multiprocessor that leave 80 to 255 registers a thread.
SHARED = ((128, 2), (128, 3), (128, 4), (256, 1), (256, 2), (256, 3))
BACKWARD = ((8, 2, True), (8, 4, True), (8, 8, True), (4, 4, True), (4, 8, True), (16, 2, True), (8, 8, False))
OPTIONS = {"activation": "silu", "cu_seqlens": None, "initial_state": None, "reverse": False}


def device_time(calls, rounds=15):
    """Milliseconds of one call, the median over replays of all of them in one graph."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls * 4:
            call()
    graph.replay()
    times = []
    for _ in range(rounds):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / len(calls) / 4)
    return sorted(times)[rounds // 2]


def host_time(call, count=300):
    """Microseconds of one call on the host, the best of seven rounds."""
    best = float("inf")
    for _ in range(7):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - start) / count)
    return best * 1e6


def inputs(shape, taps=4):
    width, random = shape[2], torch.Generator(DEVICE).manual_seed(0)
    copies = max(3, -(-300_000_000 // (2 * shape[0] * shape[1] * width)))
    x = [torch.randn(shape, generator=random, device=DEVICE).bfloat16() for _ in range(min(copies, 24))]
    return x, torch.randn(width, taps, device=DEVICE), torch.randn(width, device=DEVICE)


def sweep(shape):
    """Time every tile of both passes."""
    xs, weight, bias = inputs(shape)
    copied = torch.empty_like(xs[0])
    print(f"{shape}: copy {device_time([partial(copied.copy_, x) for x in xs]):.4f} ms", flush=True)
    forward, backward = {}, {}
    for load, run, (threads, resident) in itertools.product((8, 16), (4, 8, 16), SHARED):
        forward[Tile(load, run, threads, resident)] = None
    for (load, run, walk), (threads, resident), waves in itertools.product(BACKWARD, SHARED, (1, 2, 3)):
        backward[Tile(load, run, threads, resident, waves * resident, walk)] = None
    for tile in forward:
        launch._forward.clear()
        launch.plan_forward = partial(plan.plan_forward, shape=tile)
        calls = [partial(launch.forward, x, weight, bias, None, None, True, False) for x in xs]
        forward[tile] = device_time(calls, 7)
    for tile in backward:
        launch._backward.clear()
        launch.plan_backward = partial(plan.plan_backward, shape=tile)
        pairs = zip(xs, [*xs[1:], xs[0]], strict=True)
        calls = [partial(launch.backward, dy, None, x, weight, bias, None, None, True, False) for x, dy in pairs]
        backward[tile] = device_time(calls, 7)
    for name, times in (("forward", forward), ("backward", backward)):
        for tile, found in sorted(times.items(), key=lambda pair: pair[1])[:8]:
            print(f"  {name} {found:.4f} ms {tuple(tile)}", flush=True)
    launch._forward.clear()
    launch._backward.clear()
    launch.plan_forward, launch.plan_backward = plan.plan_forward, plan.plan_backward
    chosen = [partial(launch.forward, x, weight, bias, None, None, True, False) for x in xs]
    pairs = zip(xs, [*xs[1:], xs[0]], strict=True)
    back = [partial(launch.backward, dy, None, x, weight, bias, None, None, True, False) for x, dy in pairs]
    print(f"  in use: forward {device_time(chosen):.4f}, backward {device_time(back):.4f} ms", flush=True)


def step_arguments(batch, width=1536, states=16):
    made = {
        "x_t": torch.randn(batch, width), "dt_t": torch.randn(batch, width), "A": -torch.rand(width, states),
        "B_t": torch.randn(batch, states), "C_t": torch.randn(batch, states),
        "state": torch.randn(batch, width, states), "D": torch.randn(width), "z_t": torch.randn(batch, width),
        "dt_bias": torch.randn(width), "gap_t": torch.rand(batch),
    }  # fmt: skip
    return {**{name: value.to(DEVICE) for name, value in made.items()}, "dt_softplus": True}


def host():
    """Print what calls cost the host."""
    xs, weight, bias = inputs((8, 96, 256))
    x = xs[0]
    print(f"conv forward, no gradients {host_time(lambda: cuda_conv(x, weight, bias, **OPTIONS)):.1f} us")
    taught = [v.clone().requires_grad_() for v in (x, weight, bias)]
    print(f"conv forward with autograd {host_time(lambda: cuda_conv(*taught, **OPTIONS)):.1f} us")
    slope = torch.randn_like(x)
    both = host_time(lambda: torch.autograd.grad(cuda_conv(*taught, **OPTIONS)[0], taught, slope))
    print(f"conv forward and backward {both:.1f} us")
    for batch in (1, 64):
        scan = step_arguments(batch)
        conv = {
            "x_t": scan["x_t"],
            "weight": torch.randn(1536, 4, device=DEVICE),
            "bias": scan["D"],
            "activation": "silu",
        }
        conv["state"] = torch.randn(batch, 3, 1536, device=DEVICE)
        print(f"B={batch}: scan step {host_time(partial(cuda_step, **scan)):.1f} us host", end=", ")
        print(f"device {1e3 * device_time([partial(cuda_step, **scan)]):.1f} us", end="; ")
        print(f"conv step {host_time(partial(cuda_conv_step, **conv)):.1f} us host", end=", ")
        print(f"device {1e3 * device_time([partial(cuda_conv_step, **conv)]):.1f} us", flush=True)


def models():
    """Print what a whole block's step costs, plain and captured."""
    from mambats.encoders import CapturedStep, CausalEncoder

    for batch in (1, 64):
        torch.manual_seed(0)
        model = CausalEncoder(4, 768, 1).to(DEVICE).eval()
        x, gap = torch.randn(batch, 4, device=DEVICE), torch.rand(batch, device=DEVICE)
        state = model.init_state(batch)
        with torch.no_grad():
            plain = host_time(lambda m=model, x=x, g=gap, s=state: m.step(x, g, state=s), 100)
        print(f"encoder of one 768-wide block, step B={batch}: {plain:.1f} us", end="")
        for keep in (True, False):
            captured = CapturedStep(model, batch, keep=keep)
            held = [captured.init_state()]

            def advance(captured=captured, x=x, gap=gap, held=held):
                held[0] = captured.step(x, gap, state=held[0])[1]

            print(f", captured (keep={keep}) {host_time(advance, 100):.1f} us", end="")
        print(flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", action="store_true")
    print(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}")
    if not parser.parse_args().host:
        for each in SHAPES:
            sweep(each)
    host()
    models()
