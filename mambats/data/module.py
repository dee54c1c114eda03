"""The Lightning data module: a source in, scaled windows out."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader

from mambats.data.fitted import from_state, to_state
from mambats.data.missing import MISSING, Missing
from mambats.data.origin import forecast_panel
from mambats.data.panel import Panel, build_panel
from mambats.data.prepare import IN_MEMORY, Scalers, fit_scalers, prepare, reference_period
from mambats.data.run import Run, cut_run
from mambats.data.sampler import Share, WindowSampler
from mambats.data.split import SPLITS, Fractions, Split, check_count, find_borders
from mambats.data.windows import Lanes, WindowIndex, WindowLoader, Windows
from mambats.formats.error import DataError
from mambats.protocols import Source
from mambats.scale import Scaler
from mambats.series import Stamps, Window

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Loading:
    """How windows reach the model.

    Args:
        seed: Key of the training order.
        stride: Rows between the starts of two training windows; validation and test always take every window.
        drop_last: Leave out the last, incomplete training step instead of filling it up from the epoch's beginning.
        workers: Loader processes; 0 because one gather is faster than sending a batch between processes.
        eval_batch_size: Windows of one validation, test or predict step, or None for `batch_size`; it changes no score.
        period_ns: Reference period of time gaps in nanoseconds, or None for the median step.
        clock: Give windows their clock, which models with a cycle read; without it one-channel windows come out about
            twice as fast.
        in_memory: Bytes up to which columns are scaled once into memory; larger ones stay on disk.
    """

    seed: int = 0
    stride: int = 1
    drop_last: bool = False
    workers: int = 0
    eval_batch_size: int | None = None
    period_ns: int | None = None
    clock: bool = True
    in_memory: int = IN_MEMORY


class WindowDataModule(L.LightningDataModule):
    """Split, scale and slide over the series of a source; batches are `Window`s, scaled on training rows.

    Args:
        source: Where the series come from.
        lookback: Rows to read, L.
        horizon: Rows to forecast, K.
        batch_size: Windows of one training step over all processes together.
        split: Where training ends; None takes the published borders of the source, else 70/10/20.
        calendar: Calendar features to append to `Window.future`, see `calendar_features`.
        missing: Values that were not measured are `absent` (observed False, rows without any value masked),
            `forward_fill`ed in the lookback (targets are still scored only where measured), or `refuse`d.
        loading: Order, stride, workers and the like.

    After `setup`: `panel`, `scaler`, `scalers`, `channels`, `period_ns`, `fingerprint`, `name`, `borders`.

    Raises:
        DataError: If sizes are not positive; from `setup`, if the data cannot be used.
    """

    panel: Panel
    scalers: Scalers
    period_ns: int

    def __init__(
        self,
        source: Source,
        lookback: int,
        horizon: int,
        batch_size: int = 32,
        split: Split | None = None,
        calendar: Sequence[str] = (),
        missing: Missing = "absent",
        loading: Loading | None = None,
    ) -> None:
        super().__init__()
        if min(lookback, horizon, batch_size) < 1:
            raise DataError(f"lookback {lookback}, horizon {horizon}, batch_size {batch_size}: all must be at least 1.")
        if missing not in MISSING:
            raise DataError(f"missing is {missing!r}: choose one of {', '.join(MISSING)}.")
        self.source, self.lookback, self.horizon, self.batch_size = source, lookback, horizon, batch_size
        self.split, self.calendar, self.missing, self.loading = split, calendar, missing, loading
        self._loading: Loading = loading or Loading()
        self._missing: Missing = missing
        self._ready = False
        self._ahead: Panel | None = None

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name of the source."""
        return source_name(self.source)

    @property
    def scaler(self) -> Scaler:
        """Scaler of the targets, fitted on training rows."""
        return self.scalers.target

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the targets."""
        return self.panel.channels

    @property
    def fingerprint(self) -> str:
        """sha256 of the data."""
        return self.panel.fingerprint

    def setup(self, stage: str | None = None) -> None:
        """Read the source, find the borders, fit the scalers; done once for all stages."""
        if self._ready:
            return
        self.panel = open_panel(self.source)
        split = self.split or getattr(self.source, "borders", None) or Fractions()
        self.borders = find_borders(self.panel, split, self.lookback, self.horizon, to_score=stage != "predict")
        self.scalers = fit_scalers(self.panel, self.borders[:, 0])
        self.period_ns = self._loading.period_ns or reference_period(self.panel)
        self._prepare()
        self._ready = True

    def adopt(self, scaler: Scaler, period_ns: int) -> None:
        """Scale by what a model was trained with instead of this data's own training rows; call it after `setup`.

        Args:
            scaler: Fitted scaler of the targets, a checkpoint's for instance.
            period_ns: Reference period of the gaps the model was trained with, nanoseconds.

        Raises:
            DataError: If the scaler has other channels than the data.
        """
        if tuple(scaler.channels) != self.channels:
            raise DataError(
                f"the model was trained on channels {', '.join(scaler.channels)}; {self.name} has "
                f"{', '.join(self.channels)}. Give the same columns in the same order (`targets`)."
            )
        fitted = deepcopy(scaler).cpu()
        same = torch.equal(fitted.mean, self.scaler.mean) and torch.equal(fitted.scale, self.scaler.scale)
        if same and period_ns == self.period_ns:
            return
        self.scalers, self.period_ns = replace(self.scalers, target=fitted), period_ns
        self._ahead = None
        self._prepare()

    def state_dict(self) -> dict[str, Any]:
        """Return scalers, period and calendar for the checkpoint (Lightning calls this)."""
        return to_state(self.scalers, self.period_ns, self.calendar) if self._ready else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Scale targets and covariates as the model of the checkpoint was trained (Lightning calls this).

        Raises:
            DataError: If the checkpoint has other channels than the data.
        """
        if not state_dict or not self._ready:
            return
        fitted = from_state(state_dict)
        covariates = ("past", "future", "static")
        for part in covariates:
            wanted, here = getattr(fitted, part), getattr(self.scalers, part)
            if (wanted and wanted.channels) != (here and here.channels):
                raise DataError(
                    f"the model was trained on {part} columns {wanted and list(wanted.channels)}; {self.name} has "
                    f"{here and list(here.channels)}. Give the same columns in the same order."
                )
        self.scalers = replace(fitted, target=self.scalers.target)
        self.adopt(fitted.target, int(state_dict["period_ns"]))
        if any(getattr(fitted, part) for part in covariates):
            self._prepare()

    def windows(self, split: str, lookback: int | None = None) -> Windows:
        """Return all windows of `train`, `val`, `test`, or of `predict`: the one at the end of each series.

        Args:
            split: Which.
            lookback: Rows to read, or None for the module's own (a baseline may read fewer).
        """
        lookback = lookback or self.lookback
        filled = self.missing == "forward_fill"
        if split == "predict":
            return self._forecast_windows()
        first, last = self._ranges(split, lookback)
        stride = self._loading.stride if split == "train" else 1
        index = WindowIndex.over(first, last, lookback + self.horizon, stride)
        check_count(self.panel, split, index, last - first, (lookback, self.horizon))
        return Windows(self._needed_lanes(), index, lookback, self.horizon, filled=filled)

    def _needed_lanes(self) -> Lanes:
        """Return the lanes without the clock where a trainer's task says that it does not read it: twice the rate."""
        task = None if self.trainer is None else self.trainer.lightning_module
        unread = task is not None and not getattr(task, "reads_clock", True)
        return replace(self._lanes, stamps=None) if unread else self._lanes

    def train_dataloader(self) -> DataLoader[Window]:
        """Yield training batches, in a new order each epoch."""
        loading = self._loading
        windows = self.windows("train")
        sampler = WindowSampler(
            len(windows), self.batch_size, self._share(), shuffle=True, seed=loading.seed, drop_last=loading.drop_last
        )
        return self._loader(windows, sampler)

    def val_dataloader(self) -> DataLoader[Window]:
        """Yield validation batches, each window once, in order."""
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader[Window]:
        """Yield test batches, each window once, in order."""
        return self._evaluation("test")

    def predict_dataloader(self) -> DataLoader[Window]:
        """Yield the last lookback of each series with the rows after it to forecast."""
        return self._evaluation("predict")

    def run(self, split: str, warm: int = 0, series: int = 0) -> Run:
        """Return a split of one series as one uninterrupted run, with `warm` rows before its first target.

        Args:
            split: `train`, `val` or `test`.
            warm: Rows before the split; cut short at the start of the series.
            series: Which series.
        """
        begin, end = self._targets(split)
        start = max(0, int(begin[series]) - warm)
        rows = slice(start, int(end[series]))
        filled = self.missing == "forward_fill"
        return cut_run(self._lanes, self.panel.stamps, series, rows, int(begin[series]) - start, filled=filled)

    def stamps(self, split: str, series: int = 0) -> Stamps:
        """Return the times of a split's targets in int64 nanoseconds, shape (rows,)."""
        if split == "predict":
            return self._forecast_panel().stamps[self._forecast_panel().rows(series)][self.lookback :]
        begin, end = self._targets(split)
        base = int(self.panel.offsets[series])
        return self.panel.stamps[base + int(begin[series]) : base + int(end[series])]

    def window_stamps(self, window: Window, split: str) -> Stamps:
        """Return the times of a batch's rows in int64 nanoseconds, shape (B, L + K)."""
        panel = self._forecast_panel() if split == "predict" else self.panel
        if window.series is None or window.start is None:
            raise DataError("the batch says neither series nor start: take it from this data module.")
        rows = panel.offsets[window.series.cpu().numpy()] + window.start.cpu().numpy()
        return panel.stamps[rows[:, None] + np.arange(self.lookback + self.horizon)]

    def train_values(self, series: int = 0) -> npt.NDArray[np.float32]:
        """Return the training rows of one series in their own units, shape (rows, C), NaN where absent."""
        return self.panel.values[:, self.panel.rows(series)][:, : int(self.borders[series, 0])].T

    def train_rows(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return scaled training rows of all series (n, C), their clock (n,) and which values exist (n, C) or None."""
        values = [torch.from_numpy(np.ascontiguousarray(self.train_values(i))) for i in range(len(self.panel))]
        ends = self.borders[:, 0]
        stamps = [self.panel.stamps[self.panel.rows(i)][: int(n)] for i, n in enumerate(ends)]
        clock = torch.from_numpy(np.concatenate(stamps) // self.period_ns)
        rows = torch.cat(values)
        observed = rows.isfinite()
        scaled = self.scaler.transform(rows).nan_to_num(0.0)
        return scaled, clock, None if bool(observed.all()) else observed

    def _prepare(self) -> None:
        self._lanes = prepare(
            self.panel,
            self.scalers,
            self.period_ns,
            calendar=self.calendar,
            missing=self._missing,
            in_memory=self._loading.in_memory,
            clock=self._loading.clock,
        )

    def _targets(self, split: str) -> tuple[Numbers, Numbers]:
        """Rows of each series that are targets of a split: from, to."""
        if split not in SPLITS:
            raise DataError(f"split is {split!r}: choose one of {', '.join(SPLITS)}.")
        place = SPLITS.index(split)
        begin = np.zeros(len(self.panel), dtype=np.int64) if place == 0 else self.borders[:, place - 1]
        return begin, self.borders[:, place]

    def _ranges(self, split: str, lookback: int) -> tuple[Numbers, Numbers]:
        """Rows of each series that windows of a split may touch: evaluation looks back over its border."""
        begin, end = self._targets(split)
        return np.maximum(0, begin - lookback), end

    def _forecast_panel(self) -> Panel:
        if self._ahead is None:
            self._ahead = forecast_panel(self.panel, self.lookback, self.horizon, self.period_ns)
        return self._ahead

    def _forecast_windows(self) -> Windows:
        panel = self._forecast_panel()
        # The rows to forecast are absent by nature, which is no reason to refuse the data.
        missing: Missing = "absent" if self._missing == "refuse" else self._missing
        lanes = prepare(panel, self.scalers, self.period_ns, calendar=self.calendar, missing=missing)
        zeros = np.zeros(len(panel), dtype=np.int64)
        index = WindowIndex.over(zeros, panel.lengths, self.lookback + self.horizon)
        return Windows(lanes, index, self.lookback, self.horizon, filled=missing == "forward_fill")

    def _evaluation(self, split: str) -> DataLoader[Window]:
        windows = self.windows(split)
        size = self._loading.eval_batch_size or self.batch_size
        return self._loader(windows, WindowSampler(len(windows), size, self._share()))

    def _loader(self, windows: Windows, sampler: WindowSampler) -> DataLoader[Window]:
        # batch_size None: the sampler yields whole batches of window numbers, and a batch is gathered, not collated.
        return WindowLoader(windows, batch_size=None, sampler=sampler, num_workers=self._loading.workers)

    def _share(self) -> Share:
        if self.trainer is not None:
            return Share(self.trainer.global_rank, self.trainer.world_size)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return Share()


def open_panel(source: Source) -> Panel:
    """Return the panel of a source: its own if it has one (a cache), else built from its recordings."""
    own = getattr(source, "panel", None)
    panel = own() if callable(own) else build_panel(source_name(source), source.recordings())
    if not isinstance(panel, Panel):
        raise DataError(f"{source_name(source)}: panel() gave {type(panel).__name__}, needed a Panel.")
    return panel


def source_name(source: Source) -> str:
    """Return the name a source gives itself, else that of its class."""
    return str(getattr(source, "name", None) or type(source).__name__)
