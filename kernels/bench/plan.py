"""In which order the jobs run on a GPU: promises first, then what explains them."""

from collections.abc import Iterator

import torch

from bench import job
from bench.bars import KINDS
from bench.block import block_jobs
from bench.job import BF16, FP32, SMALL, Job, Shape, scan_job
from bench.rivals import conv_rivals, scan_rivals, step_rivals
from mambats_kernels.causal_conv.cases import GPU_SHAPES as CONVS
from mambats_kernels.selective_scan.cases import GPU_SHAPES as SCANS

LARGE: Shape = (8, 2048, 1536, 16)
SHORT: Shape = (256, 96, 128, 16)
# The width of attention's 24 heads of 64, at 2k, 8k, 32k and 131k tokens.
CROSSOVER: tuple[Shape, ...] = (LARGE, (4, 8192, 1536, 16), (1, 32768, 1536, 16), (1, 131072, 1536, 16))
STEPS = ((1, 1536, 16), (64, 1536, 16), (1024, 1536, 16))


def shrunk(shape: Shape) -> Shape:
    """A few tokens of the same case, to try the benchmark itself."""
    return min(shape[0], 2), min(shape[1], 20), min(shape[2], 8), min(shape[3], 4)


def promises(device: torch.device, backend: str | None, tiny: bool) -> Iterator[Job]:
    """Ours on every shape that a bar speaks of."""

    def fit(shape: Shape) -> Shape:
        return shrunk(shape) if tiny else shape

    for shape in dict.fromkeys(fit(shape) for shape in SCANS):
        yield scan_job("scan", shape, BF16, device, backend)
    yield scan_job("scan", fit(LARGE), FP32, device, backend)
    for shape in dict.fromkeys((fit(LARGE), fit(SHORT))):
        yield from job.both_ways_jobs(shape, device)
    for shape in dict.fromkeys(fit(shape) for shape in CONVS):
        yield job.conv_job(shape, device)
    for batch, width, size in STEPS:
        yield job.step_job(batch, *((8, 4) if tiny else (width, size)), device)
    for batch in (1, 64):
        yield from block_jobs(batch, 16 if tiny else 768, device)


def explanations(device: torch.device, tiny: bool) -> Iterator[Job]:
    """Other back-ends, extras, attention, and the rivals that are there."""

    def fit(shape: Shape) -> Shape:
        return shrunk(shape) if tiny else shape

    for shape in dict.fromkeys((fit(LARGE), *(fit(shape) for shape in SMALL))):
        yield scan_job("backends", shape, BF16, device, "triton")
    yield from (job.attention_job(shape, device) for shape in dict.fromkeys(fit(shape) for shape in CROSSOVER))
    for shape in dict.fromkeys(fit(shape) for shape in SCANS):
        for extras in KINDS if shape == fit(LARGE) else KINDS[-2:]:
            if shape[0] > 1 or "ragged" not in extras:  # a batch of one would be one sequence
                yield scan_job("extras", shape, BF16, device, extras=extras)
    for shape in dict.fromkeys(fit(shape) for shape in SCANS):
        yield from scan_rivals(shape, BF16, device, small=shape in {fit(SHORT)})
    yield from scan_rivals(fit(LARGE), FP32, device, small=False)
    for shape in dict.fromkeys(fit(shape) for shape in CONVS):
        yield from conv_rivals(shape, device)
    for batch, width, size in STEPS:
        yield from step_rivals(batch, *((8, 4) if tiny else (width, size)), device)
    for shape in dict.fromkeys(fit(shape) for shape in SMALL):
        yield scan_job("backends", shape, BF16, device, "torch")
    yield scan_job("backends", fit(SHORT), BF16, device, "reference")
