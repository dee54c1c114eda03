"""What a task keeps of the cases it was trained on, so that a checkpoint alone can read new ones."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from torch import nn

from mambats.checkpoint import check_same_model, write_entry
from mambats.scale import Scaler

if TYPE_CHECKING:
    from mambats.data.cases_module import CasesDataModule


class CasesBorder(nn.Module):
    """Channels, their scaling and the reference period of the training cases, carried by the checkpoint.

    Before `take` or `read` there is no scaler.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scaler: Scaler | None = None
        self.period_ns = 0
        self.source = ""
        self.fingerprint = ""

    def take(self, data: CasesDataModule) -> None:
        """Keep the scaling of a data module that was set up."""
        self.scaler, self.period_ns = deepcopy(data.scaler), data.period_ns
        self.source, self.fingerprint = data.name, data.fingerprint

    def check(self, data: CasesDataModule) -> None:
        """Refuse data of other channels.

        Raises:
            ValueError: Naming both.
        """
        if self.scaler is not None and tuple(self.scaler.channels) != tuple(data.channels):
            raise ValueError(
                f"the model was trained on channels {list(self.scaler.channels)}, the data has {list(data.channels)}: "
                "give the same streams in the same order."
            )

    def write(self, checkpoint: dict[str, Any], task: object) -> None:
        """Write the recipe and the border beside the tensors.

        Raises:
            ValueError: If no data was seen.
        """
        if self.scaler is None:
            raise ValueError("the task has seen no data, so there is nothing to save: fit it first.")
        channels = self.scaler.channels
        write_entry(checkpoint, task, channels, self.period_ns, source=self.source, fingerprint=self.fingerprint)

    def read(self, checkpoint: Mapping[str, Any], task: object) -> None:
        """Refuse a checkpoint of another model, then make room for its scaler."""
        entry = check_same_model(checkpoint, task)
        self.scaler, self.period_ns = Scaler(tuple(entry.channels)), entry.period_ns
        self.source, self.fingerprint = entry.source, entry.fingerprint
