"""One token through a whole Mamba layer: projections, convolution, scan, gate. Needs the package mambats."""

from collections.abc import Iterator
from importlib.util import find_spec

import torch
from torch import Tensor

from bench.job import BF16, STEP, Job
from bench.work import Work

CHANNELS = 4


def layer(batch: int, width: int, device: torch.device) -> Work:
    """The layer's own `step` on tokens of a width, in bfloat16."""
    from mambats.mixers import MambaSettings

    mixer = MambaSettings().build(width).to(device, BF16)
    x, state = torch.randn(batch, width, device=device, dtype=BF16), mixer.init_state(batch)

    def run() -> tuple[Tensor, ...]:
        y, after = mixer.step(x, state=state)
        return y, *after

    return Work(run)


def captured(batch: int, width: int, device: torch.device) -> Work:
    """One call that replays a recorded graph: the layer with norm, embedding and clock around it, in bfloat16."""
    from mambats.encoders import CapturedStep, CausalEncoder

    encoder = CausalEncoder(CHANNELS, width, 1).to(device, BF16).eval()
    step = CapturedStep(encoder, batch, keep=False)
    x, state = torch.randn(batch, CHANNELS, device=device, dtype=BF16), [step.init_state()]

    def run() -> tuple[Tensor, ...]:
        y, state[0] = step.step(x, state=state[0])
        return (y,)

    return Work(run)


def block_jobs(batch: int, width: int, device: torch.device) -> Iterator[Job]:
    """A published layer of a width, without gradients: its step, and the same behind one replay."""
    missing = "" if find_spec("mambats") else "no package mambats: put the root of the repository on PYTHONPATH"
    for who, make in (("", layer), ("captured", captured)):
        yield Job(
            "step", f"block_step/B{batch}_d{width}", STEP, BF16,
            lambda make=make: make(batch, width, device), {}, who=who, missing=missing, graph=not who,
        )  # fmt: skip
