"""Windows over several streams: what is in them, found by plain loops."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mambats.data import SensorWindows
from mambats.series import RaggedStream, Recording, Stream


def recording(seed, rows=400):
    random = np.random.default_rng(seed)
    imu = np.cumsum(random.integers(3, 8, rows)).astype(np.int64)
    slow = np.sort(random.choice(np.arange(int(imu[-1])), 30, replace=False)).astype(np.int64)
    observed = random.random((30, 2)) < 0.8
    values = np.where(observed, random.normal(size=(30, 2)), np.nan)
    splits = np.concatenate([[0], np.cumsum(random.integers(0, 4, 30))]).astype(np.int64)
    sweeps = RaggedStream(slow + 1, splits, random.normal(size=(int(splits[-1]), 3)), ("x", "y", "z"))
    return Recording(
        f"r{seed}",
        {"imu": Stream(imu, random.normal(size=(rows, 6)), tuple("abcdef")),
         "gnss": Stream(slow, values, ("n", "e"), observed)},
        ragged={"lidar": sweeps},
        truth={"pose": Stream(imu, random.normal(size=(rows, 2)), ("px", "py"))},
    )  # fmt: skip


def windows(**more):
    given = {"streams": ("imu", "gnss", "lidar"), "length_ns": 100, "stride_ns": 60, "period_ns": 5, "truth": ("pose",)}
    return SensorWindows([recording(0), recording(1, 250)], **{**given, **more})


def test_every_row_of_every_window():
    made = windows()
    batch = made.batch(range(len(made)))
    for b in range(len(batch)):
        source, start = made.recordings[int(batch.recording[b])], int(batch.starts[b])
        for name, rows in {**batch.streams, **batch.truth}.items():
            stream = {**source.streams, **source.ragged, **source.truth}[name]
            inside = np.flatnonzero((stream.stamps > start) & (stream.stamps <= start + 100))
            n = len(inside)
            assert rows.mask[b].tolist() == [True] * n + [False] * (rows.mask.shape[1] - n)
            assert (rows.stamps[b, :n] == torch.from_numpy(stream.stamps[inside] - start)).all()
            gaps = np.concatenate([[5], np.diff(stream.stamps[inside])]) / 5 if n else np.empty(0)
            np.testing.assert_allclose(rows.gaps[b, :n], gaps, rtol=1e-6)
            assert not rows.gaps[b, n:].any() and not rows.values[b, n:].any()
            if isinstance(stream, RaggedStream):
                for k, row in enumerate(inside):
                    table = stream.table(int(row))
                    assert int(rows.counts[b, k]) == len(table)
                    np.testing.assert_allclose(rows.values[b, k, : len(table)], table, rtol=1e-6)
                    assert not rows.values[b, k, len(table) :].any()
            else:
                np.testing.assert_allclose(rows.values[b, :n], np.nan_to_num(stream.values[inside]), rtol=1e-6)
    flags = batch.streams["gnss"].observed
    assert not flags.all() and not batch.streams["gnss"].values[~flags].any()


def test_a_loader_gives_each_window_once():
    made = windows()
    loader = DataLoader(made, batch_size=7, collate_fn=lambda batch: batch)
    found = [(int(r), int(s)) for batch in loader for r, s in zip(batch.recording, batch.starts, strict=True)]
    assert len(found) == len(set(found)) == len(made)
    assert len(made[-1]) == 1
    with pytest.raises(IndexError):
        made[len(made)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"streams": ("imu", "wheel")}, "no stream 'wheel'"),
        ({"truth": ("velocity",)}, "no ground truth"),
        ({"length_ns": 10**6}, "take a shorter length"),
        ({"length_ns": 0}, "need at least 1"),
    ],
)
def test_what_cannot_be_cut_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        windows(**changed)


def test_most_points_keeps_the_beginning_of_tables():
    batch = windows(most_points=2).batch([0, 1])
    assert batch.streams["lidar"].values.shape[2] == 2 and batch.streams["lidar"].counts.max() == 2
