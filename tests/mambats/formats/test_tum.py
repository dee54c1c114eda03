import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambats.formats import DataError
from mambats.formats.layout import POSE
from mambats.formats.repair import REPAIR
from mambats.formats.tum import read_tum, write_tum
from mambats.series import Stream
from mambats_datasets.fakes.body import rocking

SOME = st.lists(st.integers(-(2**60), 2**60), min_size=1, max_size=8, unique=True)


def poses(stamps):
    rng = np.random.default_rng(len(stamps))
    values = rng.normal(size=(len(stamps), 7))
    values[:, 3:] /= np.linalg.norm(values[:, 3:], axis=1, keepdims=True)
    return Stream(np.sort(np.array(stamps, dtype=np.int64)), values, POSE.channels, unit=POSE.unit)


@given(SOME)
def test_what_is_written_is_read(tmp_path_factory, stamps):
    pose = poses(stamps)
    path = write_tum(tmp_path_factory.mktemp("tum") / "a.txt", pose)
    read = read_tum(path).streams["pose"]
    np.testing.assert_array_equal(read.stamps, pose.stamps)
    np.testing.assert_array_equal(read.values, pose.values)


def test_the_layout_is_that_of_the_benchmark(tmp_path):
    path = tmp_path / "freiburg.txt"
    row = "1305031098.6659 1.3563 0.6305 1.6380 0.6132 0.5962 -0.3311 -0.3986"
    path.write_text(f"# ground truth trajectory\n# file: 'x.bag'\n# timestamp tx ty tz qx qy qz qw\n{row}\n")
    recording = read_tum(path)
    pose = recording.streams["pose"]
    assert recording.name == "freiburg"
    assert pose.stamps.tolist() == [1305031098665900000]
    assert pose.values[0].tolist() == [1.3563, 0.6305, 1.638, 0.6132, 0.5962, -0.3311, -0.3986]
    assert (pose.units[0], pose.units[6], pose.frame) == ("m", "", "map")


def test_unobserved_rows_are_left_out_and_equal_stamps_refused(tmp_path):
    pose = poses(range(5))
    pose.values[2] = np.nan
    assert len(read_tum(write_tum(tmp_path / "a.txt", pose)).streams["pose"]) == 4
    with pytest.raises(DataError, match="with 3 digits several stamps are the same"):
        write_tum(tmp_path / "a.txt", pose, digits=3)
    with pytest.raises(DataError, match=r"channels are \('a',\), needed"):
        write_tum(tmp_path / "a.txt", Stream(np.arange(2), np.zeros((2, 1)), ("a",)))


def test_faults_are_located(tmp_path):
    body = rocking(30, 10)
    good = Stream(body.stamps, np.hstack((body.position, body.quaternion)), POSE.channels)
    path = write_tum(tmp_path / "a.txt", good)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:7], lines[3], *lines[7:]]))
    with pytest.raises(DataError, match="a.txt, line 8: the clock goes back"):
        read_tum(path)
    assert read_tum(path, REPAIR).repairs[0].endswith("goes back, dropped, the first is line 8")
    path.write_text("\n".join([*lines[:7], lines[7] + " 1", *lines[8:]]))
    with pytest.raises(DataError, match="a.txt, line 8: 9 columns"):
        read_tum(path)
    path.write_text("1 2 3\n")
    with pytest.raises(DataError, match="3 columns, needed the 8 of a TUM trajectory"):
        read_tum(path)
