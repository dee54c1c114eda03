"""Small forecasters of every kind that streams, as a task and its checkpoint's facts."""

import torch

from mambats.checkpoint import write_checkpoint, write_entry
from mambats.encoders import CausalEncoder
from mambats.forecast import Cycle, DirectHead, Forecaster, LinearSkip
from mambats.forecast.task import ForecastTask
from mambats.mixers import MambaSettings
from mambats.scale import RunningNorm

HOUR = 3_600_000_000_000
CHANNELS = ("a", "b")
PAST = {"channels": ["p"], "mean": torch.tensor([5.0]), "scale": torch.tensor([2.0])}
#: What is special about each: arguments of `make_task`, and what the checkpoint says of the data.
KINDS = {
    "plain": ({"skip": False, "cycle": False}, {}),
    "quantiles": ({"quantiles": (0.1, 0.5, 0.9)}, {}),
    "mixing": ({"mixing": True, "final_norm": False, "conv_width": 0}, {}),
    "covariates": ({"extra": 3, "identity": 2, "hold": True}, {"past": PAST, "calendar": ["hour_of_day"]}),
}


def make_task(
    quantiles=None, skip=True, cycle=True, mixing=False, final_norm=True, conv_width=4, extra=0, identity=0, hold=False
):
    torch.manual_seed(0)
    settings = MambaSettings(state_size=4, conv_width=conv_width, hold=hold)
    model = Forecaster(
        CausalEncoder((2 if mixing else 1) + extra, 8, 2, mixer=settings, final_norm=final_norm),
        DirectHead(8, 3, quantiles=quantiles, outputs=2 if mixing else 1),
        RunningNorm(24, 24),
        LinearSkip(6, 3) if skip else None,
        mixing=mixing,
        series_channels=identity,
        cycle=Cycle(24, 2) if cycle else None,
    )
    for part in (model.cycle and model.cycle.profile, model.skip and model.skip.weight, model.identity):
        if part is not None:
            torch.nn.init.normal_(part, std=0.3)
    task = ForecastTask(model)
    task.adopt(CHANNELS, HOUR)
    task.scaler.mean.copy_(torch.tensor([1.0, 10.0]))
    task.scaler.scale.copy_(torch.tensor([2.0, 3.0]))
    return task.eval()


def save(task, path, **facts):
    checkpoint = {"state_dict": task.state_dict(), **facts}
    write_entry(checkpoint, task, CHANNELS, HOUR, source="nowhere", fingerprint="f" * 64)
    write_checkpoint(checkpoint, path)
    return path
