"""Recordings saved and opened: a round trip of anything, without a copy, and refused by name when damaged."""

import json
import shutil
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given

from mambats.formats.error import DataError
from mambats.formats.store import open_recording, save_recording
from mambats.series import FrameTree, ImageStream, RaggedStream, Recording, Rigid, Stream

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable())
SEEDS = st.integers(0, 2**31)


def clock(random, rows):
    return np.cumsum(random.integers(1, 10**9, rows), dtype=np.int64)


def stream(random, rows, width, part=0):
    values = random.normal(size=(rows, width)).astype(random.choice([np.float32, np.float64]))
    observed = random.random((rows, width)) < 0.7 if part % 2 else None
    if observed is not None:
        values[~observed] = np.nan
    covariance = [None, np.eye(width) * 0.1, random.normal(size=(rows, width, width))][part % 3]
    unit = "m/s" if part % 2 else tuple(f"u{k}" for k in range(width))
    return Stream(clock(random, rows), values, tuple(f"c{k}" for k in range(width)), observed, unit, "imu", covariance)


def ragged(random, rows, width):
    splits = np.concatenate(([0], np.cumsum(random.integers(0, 4, rows), dtype=np.int64))).astype(np.int64)
    values = random.normal(size=(splits[-1], width)).astype(np.float32)
    channels = tuple(f"c{k}" for k in range(width))
    return RaggedStream(clock(random, rows), splits, values, channels, "m", "lidar", {"c0": ("car", "bus")})


def images(random, rows, folder):
    path = folder / "picture.png"
    path.write_bytes(b"\x89PNG not really")
    kinds = [path, b"\xff\xd8 bytes", random.integers(0, 255, (3, 4, 3), dtype=np.uint8)]
    return ImageStream(clock(random, rows), [kinds[k % 3] for k in range(rows)], "camera", np.eye(3), (0.1, 0.2))


def same(a, b):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


def same_stream(a, b):
    for name in ("stamps", "values", "observed", "covariance"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            same(x, y)
    assert (a.channels, a.unit, a.frame) == (b.channels, b.unit, b.frame)


def same_recording(a, b):
    assert (a.name, dict(a.static), a.frames, a.repairs) == (b.name, dict(b.static), b.frames, b.repairs)
    for part in ("streams", "truth"):
        assert list(getattr(a, part)) == list(getattr(b, part))
        for name, one in getattr(a, part).items():
            same_stream(one, getattr(b, part)[name])
    for name, one in a.ragged.items():
        other = b.ragged[name]
        for field in ("stamps", "splits", "values"):
            same(getattr(one, field), getattr(other, field))
        assert (one.channels, one.unit, one.frame, one.labels) == (
            other.channels,
            other.unit,
            other.frame,
            other.labels,
        )
    for name, one in a.images.items():
        other = b.images[name]
        same(one.stamps, other.stamps)
        assert (one.frame, one.distortion, len(one)) == (other.frame, other.distortion, len(other))
        for x, y in zip(one.pictures, other.pictures, strict=True):
            x = x.read_bytes() if isinstance(x, Path) else x
            assert np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y


def recording(random, folder, names, rows, width):
    parts = {name: stream(random, rows, width, k) for k, name in enumerate(names)}
    tree = FrameTree((Rigid("base_link", "imu", (0.1, 1 / 3, 2.0)), Rigid("base_link", "lidar")))
    return Recording(
        "drive é/1",
        parts,
        {"mass": 0.1 + 0.2},
        {"//lidar": ragged(random, rows, max(width, 1))},
        {"//camera": images(random, rows, folder)},
        tree,
        {"pose": stream(random, rows, 7, 2)},
        ("imu: 3 rows dropped",),
    )


@given(names=st.lists(NAMES, unique=True, max_size=4), seed=SEEDS, rows=st.integers(0, 9), width=st.integers(0, 5))
def test_what_was_saved_is_what_is_opened(tmp_path_factory, names, seed, rows, width):
    folder = tmp_path_factory.mktemp("store")
    made = recording(np.random.default_rng(seed), folder, names, rows, width)
    save_recording(made, folder / "saved")
    same_recording(made, open_recording(folder / "saved"))
    # Saved once more from its own maps, with nothing of the first folder.
    save_recording(open_recording(folder / "saved"), folder / "again")
    shutil.rmtree(folder / "saved")
    same_recording(made, open_recording(folder / "again", verify=True))


@pytest.fixture
def saved(tmp_path):
    made = recording(np.random.default_rng(0), tmp_path, ["imu", "gnss"], 50, 6)
    return save_recording(made, tmp_path / "saved")


def test_values_are_views_of_the_file(saved):
    imu = open_recording(saved).streams["imu"]
    for array in (imu.stamps, imu.values):
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
        assert not array.flags.owndata and array.flags.c_contiguous


def test_writing_into_a_view_leaves_the_file_alone(saved):
    before = open_recording(saved).streams["imu"].values
    before[:] = 0
    assert open_recording(saved, verify=True).streams["imu"].values.any()


def test_polars_reads_the_same_file(saved):
    imu = open_recording(saved).streams["imu"]
    frame = pl.read_ipc(saved / "streams" / "0_imu.arrow")
    same(frame["stamp"].to_numpy(), imu.stamps)
    same(frame["values"].to_numpy(), imu.values)


def test_nothing_but_a_recording_is_replaced(saved, tmp_path):
    made = open_recording(saved)
    with pytest.raises(DataError, match="overwrite"):
        save_recording(made, saved)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(DataError, match="no saved recording"):
        save_recording(made, tmp_path / "thesis", overwrite=True)
    small = Recording("small", {})
    save_recording(small, saved, overwrite=True)
    assert open_recording(saved).name == "small"


def test_a_torn_save_leaves_nothing(tmp_path):
    lost = ImageStream(np.arange(2), [b"x", tmp_path / "gone.png"])
    with pytest.raises(DataError, match=r"gone.png.*picture 1"):
        save_recording(Recording("torn", {}, images={"camera": lost}), tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def cut(folder):
    path = folder / "streams" / "0_imu.arrow"
    path.write_bytes(path.read_bytes()[:-100])


def flip(folder):
    path = folder / "truth" / "0_pose.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit(**changes):
    def change(folder):
        path = folder / "recording.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, r"0_imu.arrow: has \d+ bytes, \d+ were written"),
        (flip, r"0_pose.arrow: is not the file that was written: sha256"),
        (lambda folder: next((folder / "ragged").glob("0_*")).unlink(), r"_lidar.*arrow: is missing"),
        (lambda folder: (folder / "recording.json").unlink(), r"no saved recording here"),
        (lambda folder: (folder / "recording.json").write_text("{"), r"recording.json: cannot be read"),
        (edit(format=9), r"format 9, this version reads 1"),
        (edit(kind="other"), r"not of a mambats recording"),
        (edit(files={"../secret": {"bytes": 1, "sha256": ""}}), r"names '../secret', which is not in the folder"),
        (edit(streams={"imu": {}}), r"not what save_recording writes \(KeyError"),
    ],
)
def test_a_damaged_folder_is_refused_by_name(saved, damage, words):
    damage(saved)
    with pytest.raises(DataError, match=words):
        open_recording(saved)


def test_sums_are_compared_on_request_and_below_a_size(saved, monkeypatch):
    flip(saved)
    open_recording(saved, verify=False)
    monkeypatch.setattr("mambats.formats.store.opened.SMALL", 10)
    open_recording(saved)
    with pytest.raises(DataError, match="sha256"):
        open_recording(saved, verify=True)


def resident(folder):
    """MB that opening takes in a fresh process, all kinds of memory, and whether the last row can be read."""
    import os
    import subprocess
    import sys

    code = f"""
import re
from mambats.formats.store import open_recording
def used(): return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = used()
imu = open_recording({str(folder)!r}, verify=False).streams["imu"]
print(used() - before, imu.values[-1].sum(), len(imu))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


def long_recording(folder, rows):
    values = np.zeros((rows, 6))
    values[-1] = 1
    streams = {"imu": Stream(np.arange(rows, dtype=np.int64) * 10**6, values, tuple("abcdef"))}
    return save_recording(Recording("long", streams), folder / "long")


@pytest.mark.parametrize("rows", [10**6, pytest.param(36 * 10**6, marks=pytest.mark.slow)])
def test_opening_takes_no_memory(tmp_path, rows):
    if not Path("/proc/self/status").is_file():
        pytest.skip("memory is read from /proc")
    grown, total, found = resident(long_recording(tmp_path, rows))
    assert (total, found) == (6, rows)
    assert grown < (20 if rows == 10**6 else 50), f"{grown:.0f} MB for a file of {rows * 56 / 1e6:.0f} MB"
