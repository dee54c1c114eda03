"""One token through a whole Mamba layer: projections, convolution, scan, gate. Needs the package mambats."""

import torch

from bench.job import BF16, STEP, Job
from bench.work import Work


def block_job(batch: int, width: int, device: torch.device) -> Job:
    """A published layer of a width in bfloat16, by its `step`, without gradients."""
    try:
        from mambats.mixers import MambaSettings
    except ImportError as error:
        settings, missing = None, f"{error}: put the root of the repository on PYTHONPATH"
    else:
        settings, missing = MambaSettings(), ""

    def make() -> Work:
        if settings is None:
            raise RuntimeError(missing)
        mixer = settings.build(width).to(device, BF16)
        state = mixer.init_state(batch)
        x = torch.randn(batch, width, device=device, dtype=BF16)

        def run() -> tuple[torch.Tensor, ...]:
            y, after = mixer.step(x, state=state)
            return y, *after

        return Work(run)

    return Job("step", f"block_step/B{batch}_d{width}", STEP, BF16, make, {}, missing=missing)
