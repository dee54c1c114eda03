"""Covariances of tracks: right ones, too wide ones, and a track that looks the other way."""

import math
from dataclasses import replace

import pytest
import torch

from mambats.track import Objects
from mambats.track.metrics import consistency_scores, track_nees


def pair(scale=1.0, count=4000, turn=0.0):
    """A body a frame, tracked with errors of a known covariance, told `scale` times as wide."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.eye(7, dtype=torch.float64) * 0.1 + 0.02 * torch.rand(7, 7, dtype=torch.float64, generator=generator)
    boxes = torch.tensor([[5.0, 1, 0, 4, 2, 1.5, 3.1]], dtype=torch.float64).repeat(count, 1)
    noise = torch.randn(count, 7, dtype=torch.float64, generator=generator) @ mixing.T
    labels = Objects(
        stamps=torch.arange(count),
        splits=torch.arange(count + 1),
        boxes=boxes,
        labels=torch.zeros(count, dtype=torch.int64),
        classes=("Car",),
        identity=torch.zeros(count, dtype=torch.int64),
    )
    covariance = (scale**2 * mixing @ mixing.T).expand(count, 7, 7)
    noise[:, 6] += turn
    return labels, replace(labels, boxes=boxes + noise, covariance=covariance)


@pytest.mark.parametrize("turn", [0.0, math.pi, 2 * math.pi])
def test_right_covariances(turn):
    found = consistency_scores(track_nees(*pair(turn=turn), "Car"))
    assert found["per_degree"] == pytest.approx(1, abs=0.03)
    assert found["inside"] == pytest.approx(0.95, abs=0.01)
    assert found["entries"] == 4000


def test_wide_covariances_are_seen():
    found = consistency_scores(track_nees(*pair(scale=10.0), "Car"))
    assert found["per_degree"] == pytest.approx(0.01, abs=0.001)
    assert found["below"] == 1


def test_what_cannot_be_judged():
    labels, tracks = pair(count=3)
    with pytest.raises(ValueError, match="tracks have no covariance"):
        track_nees(labels, replace(tracks, covariance=None), "Car")
    away = replace(tracks, boxes=tracks.boxes + 100)
    assert math.isnan(consistency_scores(track_nees(labels, away, "Car"))["inside"])
