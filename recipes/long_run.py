"""Check a streaming checkpoint over one long run: as good after 10,000 rows as after 96, and the same step by step?

    python recipes/long_run.py --checkpoint runs/etth1_stream/checkpoints/best.ckpt [--cache FOLDER]

Prints the mean squared error (scaled values, first `--horizon` steps) of forecasts after rows 10,000 to 17,000 of one
uninterrupted run that starts at row 0, the same from fresh starts on 96 rows, their ratio, and the largest difference
between the run in recurrent mode (`step`, row by row, over the last `--steps` rows) and the parallel pass.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import torch
from torch import Tensor

from mambats.checkpoint import load_task
from mambats.data import Cached, WindowDataModule
from mambats.forecast import Forecaster, ForecasterState, Rows
from mambats.series import Window

FIRST, LAST, FRESH = 10_000, 17_000, 96


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--cache", help="cached panel of ETTh1; default: ETTh1 from MAMBATS_DATA or the network")
    parser.add_argument("--horizon", type=int, default=96)
    parser.add_argument("--steps", type=int, default=2880)
    given = parser.parse_args()
    if given.cache is None:
        from mambats_datasets import ETT

        source = ETT("ETTh1")
    else:
        source = Cached(given.cache)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: Forecaster = load_task(given.checkpoint).model.to(device)
    rows, truth = read(source, given.horizon, device)
    with torch.no_grad():
        whole, states = long_run(model, rows, given.horizon, LAST - given.steps)
        fresh = fresh_starts(model, rows, given.horizon)
        stepped = by_steps(model, rows.part(LAST - given.steps, LAST), states, given.horizon)
    after, before = error(whole, truth), error(fresh, truth)
    difference = (stepped - whole[-given.steps :]).abs().max() / whole.abs().max()
    print(f"device {device}, rows {FIRST} to {LAST}, horizon {given.horizon}, mode online")
    print(f"uninterrupted run  mse {after:.4f}\nfresh {FRESH}-row starts mse {before:.4f}\nratio {after / before:.4f}")
    print(f"step by step over {given.steps} rows against the parallel pass: {difference:.1e} of max|y|")


def read(source: object, horizon: int, device: torch.device) -> tuple[Rows, Tensor]:
    """Return all rows up to LAST scaled by the training rows, and the truth after each of the scored ones."""
    data = WindowDataModule(source, LAST - 1, horizon)  # type: ignore[arg-type]
    data.setup()
    lanes = data.windows("train", lookback=1).lanes
    values = torch.from_numpy(lanes.target.values[:, : LAST + horizon].T.copy()).to(device)
    clock = torch.from_numpy(data.panel.stamps[:LAST] // data.period_ns).to(device)[None]
    truth = torch.stack([values[row + 1 : row + 1 + horizon] for row in range(FIRST, LAST)])
    return Rows(values[None, :LAST], clock=clock), truth


def long_run(model: Forecaster, rows: Rows, horizon: int, keep: int) -> tuple[Tensor, ForecasterState]:
    """Return forecasts after rows FIRST to LAST of one run from row 0, and the state before row `keep`."""
    state = kept = model.init_state(1, rows.values.shape[2])
    out: list[Tensor] = []
    edges = sorted({*range(0, LAST, 500), FIRST, keep, LAST})
    for begin, end in pairwise(edges):
        kept = state if begin == keep else kept
        at = None if begin >= FIRST else torch.tensor([end - begin - 1], device=rows.values.device)
        forecast, state = model.roll(rows.part(begin, end), state, at)
        if begin >= FIRST:
            out.append(forecast[0, :, :horizon])
    return torch.cat(out), kept


def fresh_starts(model: Forecaster, rows: Rows, horizon: int) -> Tensor:
    """Return forecasts after the same rows, each from a fresh start FRESH rows earlier."""
    out: list[Tensor] = []
    for begin in range(FIRST, LAST, 500):
        ends = torch.arange(begin, begin + 500, device=rows.values.device)
        index = ends[:, None] + torch.arange(1 - FRESH, 1, device=rows.values.device)
        clock = None if rows.clock is None else rows.clock[0, index]
        window = Window(torch.nn.functional.pad(rows.values[0, index], (0, 0, 0, horizon)), FRESH, clock=clock)
        out.append(model(window)[:, :horizon])
    return torch.cat(out)


def by_steps(model: Forecaster, rows: Rows, state: ForecasterState, horizon: int) -> Tensor:
    """Return the forecast after each row, one row at a time."""
    out: list[Tensor] = []
    for row in range(rows.values.shape[1]):
        forecast, state = model.step(rows.part(row, row + 1), state)
        out.append(forecast[0, :horizon])
    return torch.stack(out)


def error(forecast: Tensor, truth: Tensor) -> float:
    """Return the mean squared error."""
    return float((forecast - truth).double().square().mean())


if __name__ == "__main__":
    main()
