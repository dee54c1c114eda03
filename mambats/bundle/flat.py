"""A streaming forecaster as one function of plain tensors in the data's units: what is stepped and exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mambats.forecast.model import Forecaster, Rows
from mambats.formats.error import DataError
from mambats.scale import Scaler
from mambats.series.state import flatten_state, restore_state
from mambats.streaming.engines.facts import ForecastFacts


class FlatForecaster(nn.Module):
    """Take one row in the data's units, answer in the data's units, carry the state as named tensors with rows first.

    Args:
        model: A forecaster that streams.
        scaler: Of its channels.
        past: Scaler of covariates known up to now, or None.
        facts: What the model reads.

    Raises:
        StreamingError: If the model reads fixed windows.
    """

    def __init__(self, model: Forecaster, scaler: Scaler, past: Scaler | None, facts: ForecastFacts) -> None:
        super().__init__()
        self.model, self.scaler, self.past, self.facts = model, scaler, past, facts
        self._like = model.init_state(1, len(facts.channels))
        #: Rows that a leaf of the state has for each series: C where every channel is a sequence of its own.
        self._fold = {name: leaf.shape[0] for name, leaf in flatten_state(self._like, "state").items()}
        self.names = tuple(name.removeprefix("state.") for name in self._fold)

    @classmethod
    def of(cls, task: Any, checkpoint: Mapping[str, Any]) -> FlatForecaster:
        """Make it of a task and the checkpoint that it came from, which knows the data.

        Raises:
            DataError: If the model reads what a row cannot bring: known-future columns or static facts.
            StreamingError: If the model reads fixed windows.
        """
        data = checkpoint.get("WindowDataModule") or {}
        for part in ("future", "static"):
            if data.get(part):
                raise DataError(
                    f"the model reads {part} columns {list(data[part]['channels'])}, which a row does not bring: "
                    "train without them to stream."
                )
        past = _scaler(data["past"]) if data.get("past") else None
        model: Forecaster = task.model
        facts = ForecastFacts(
            channels=tuple(task.scaler.channels),
            period_ns=int(task.period_ns),
            horizon=model.horizon,
            quantiles=model.quantiles,
            past=() if past is None else tuple(past.channels),
            calendar=tuple(data.get("calendar") or ()),
            clock=model.cycle is not None,
        )
        return cls(model, task.scaler, past, facts).eval().requires_grad_(False)

    def init_state(self, rows: int) -> dict[str, Tensor]:
        """Return the state before any row."""
        return self._named(self.model.init_state(rows, len(self.facts.channels)))

    def forward(
        self,
        x: Tensor,
        observed: Tensor,
        gap: Tensor,
        clock: Tensor | None,
        future: Tensor | None,
        state: Mapping[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take one row.

        Args:
            x: Channels, then covariates, shape (B, C + P), the data's units; what is not observed is not read.
            observed: Which were measured, shape (B, C + P) bool.
            gap: Since the row before, in reference periods, shape (B,).
            clock: Whole reference periods since 1970, shape (B,) int64, or None.
            future: Calendar of this row and the K after it, shape (B, K + 1, F), or None.
            state: Of the row before, by name.

        Returns:
            Forecast (B, K, C[, Q]) in the data's units, and the next state.
        """
        count = len(self.facts.channels)
        past = None
        if self.past is not None:
            past = torch.where(observed[:, count:], self.past.transform(x[:, count:]), 0.0)[:, None]
        seen = observed[:, :count]
        values = torch.where(seen, self.scaler.transform(x[:, :count]), 0.0)
        row = Rows(
            values[:, None],
            gap[:, None],
            seen[:, None],
            past=past,
            future=future,
            clock=None if clock is None else clock[:, None],
        )
        forecast, after = self.model.step(row, self._tree(state))
        return self._units(forecast), self._named(after)

    def _units(self, forecast: Tensor) -> Tensor:
        if self.facts.quantiles is None:
            return self.scaler.inverse(forecast)
        return self.scaler.inverse(forecast.movedim(-1, 0)).movedim(0, -1)

    def _named(self, state: Any) -> dict[str, Tensor]:
        found = flatten_state(state, "state")
        parts = [
            leaf if self._fold[name] == 1 else leaf.unflatten(0, (-1, self._fold[name])) for name, leaf in found.items()
        ]
        return dict(zip(self.names, parts, strict=True))

    def _tree(self, state: Mapping[str, Tensor]) -> Any:
        leaves = {
            name: state[short] if self._fold[name] == 1 else state[short].flatten(0, 1)
            for short, name in zip(self.names, self._fold, strict=True)
        }
        return restore_state(self._like, leaves, "state")


def _scaler(part: Mapping[str, Any]) -> Scaler:
    names: Sequence[str] = part["channels"]
    scaler = Scaler(tuple(names))
    scaler.mean.copy_(part["mean"])
    scaler.scale.copy_(part["scale"])
    return scaler
