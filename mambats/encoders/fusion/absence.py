"""Modality dropout: in training whole streams go missing, so that none is leaned on alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mambats.series import SensorRows


def drop_streams(rows: Sequence[SensorRows], share: float) -> tuple[SensorRows, ...]:
    """Remove whole streams of a window, of each series by itself, and never all that a series has.

    Drawn from torch's own generator of the device. A stream of no channels measures nothing and is kept.

    Args:
        rows: Of each stream.
        share: Probability that a stream is removed from a series.

    Returns:
        The same rows with masks of removed streams False.

    Source: as ModDrop in N. Neverova et al., "ModDrop: adaptive multi-modal gesture recognition", 2015, section 4.
    """
    measures = [index for index, stream in enumerate(rows) if stream.values.shape[2] > 0]
    there = torch.stack([rows[index].mask.any(1) for index in measures], 1)
    luck = torch.where(there, torch.rand(there.shape, device=there.device), -1.0)
    # The luckiest of those that a series has stays whatever the share.
    keep = (luck >= share) | (luck == luck.amax(1, keepdim=True))
    kept = dict(zip(measures, keep.unbind(1), strict=True))
    return tuple(
        replace(stream, mask=stream.mask & kept[index].unsqueeze(1)) if index in kept else stream
        for index, stream in enumerate(rows)
    )
