"""KITTI's boxes as objects and back; folders of labels and tracks, and what is refused of them."""

import math

import numpy as np
import pytest
import torch

from mambats.formats.error import DataError
from mambats.formats.kitti.results import write_tracks
from mambats.formats.kitti.tracking import read_tracks
from mambats.track.kitti import from_kitti, to_kitti
from mambats.track.kitti_folder import read_labelled_tracks, read_seqmap

CAR = "0 7 Car 0 1 -10 100 50 200 90 1.5 1.6 4 2 1.7 20 0.3"
IGNORED = "0 -1 DontCare -1 -1 -10 300 50 400 90 -1 -1 -1 -1000 -1000 -1000 -10"


@pytest.fixture
def write(tmp_path):
    def written(labels=CAR, tracks=f"{CAR} 0.9", name="0000"):
        for place, text in (("labels", labels), ("tracks", tracks)):
            (tmp_path / place).mkdir(exist_ok=True)
            if text is not None:
                (tmp_path / place / f"{name}.txt").write_text(f"{text}\n" if text else "")
        return tmp_path / "labels", tmp_path / "tracks"

    return written


def test_axes_are_turned_and_the_centre_lifted(write):
    found = from_kitti(read_tracks(write(f"{CAR}\n{IGNORED}")[0] / "0000.txt"))
    wanted = [20, -2, -1.7 + 0.75, 4, 1.6, 1.5, -0.3 - math.pi / 2]
    torch.testing.assert_close(found.boxes[0], torch.tensor(wanted, dtype=torch.float64))
    assert found.identity.tolist() == [7, -1]
    assert bool(found.boxes[1].isnan().all())  # DontCare is nowhere
    assert found.pixels[1].tolist() == [300, 50, 400, 90]
    assert [found.classes[label] for label in found.labels] == ["Car", "DontCare"]


def test_yaw_points_where_the_length_lies(write):
    """A car that looks along the camera's x axis (yaw 0) looks to our right; at -pi/2 it looks ahead."""
    for turn, ahead in ((0.0, (0.0, -1.0)), (-math.pi / 2, (1.0, 0.0))):
        box = from_kitti(read_tracks(write(f"{CAR[: -len('0.3')]}{turn}")[0] / "0000.txt")).boxes[0]
        assert (math.cos(box[6]), math.sin(box[6])) == pytest.approx(ahead, abs=1e-12)


def test_there_and_back(write, tmp_path):
    stream = read_tracks(write()[1] / "0000.txt")
    back = to_kitti(from_kitti(stream))
    assert set(back.channels) == set(stream.channels)
    for at, name in enumerate(stream.channels):
        wanted = -10 if name == "alpha" else stream.values[:, at]
        found = back.values[:, back.channels.index(name)]
        if name == "alpha":  # it was not known, and is worked out
            wanted = 0.3 - math.atan2(2, 20)
        np.testing.assert_allclose(found, wanted, atol=1e-12)
    again = from_kitti(read_tracks(write_tracks(tmp_path / "back.txt", back)))
    torch.testing.assert_close(again.boxes, from_kitti(stream).boxes)


def test_pixels_not_known_are_no_box(write):
    unknown = "0 7 Car -1 -1 -10 -1 -1 -1 -1 1.5 1.6 4 2 1.7 20 0.3 0.9"
    found = from_kitti(read_tracks(write(tracks=unknown)[1] / "0000.txt"))
    assert bool(found.pixels.isnan().all())


def test_what_is_nowhere_cannot_be_written(write):
    with pytest.raises(ValueError, match="no place in space"):
        to_kitti(from_kitti(read_tracks(write(IGNORED)[0] / "0000.txt")))


def test_frames_without_tracks_are_frames(write):
    labels, tracks = write(f"{CAR}\n{CAR.replace('0 7', '3 7', 1)}", "")
    (one,) = read_labelled_tracks(labels, tracks)
    assert (one.name, len(one.labels), len(one.tracks), len(one.tracks.boxes)) == ("0000", 4, 4, 0)


def late(frame):
    return CAR.replace("0 7", f"{frame} 7", 1)


@pytest.mark.parametrize(
    ("labels", "tracks", "frames", "message"),
    [
        (CAR, f"{CAR} 0.9\n{late(3)} 0.9", None, "tracks/0000.txt, line 2: frame is 3, the labels end at frame 0"),
        (CAR, f"{late(5)} 0.9", {"0000": 4}, "tracks/0000.txt, line 1: frame is 5, the sequence has 4 frames"),
        (late(5), "", {"0000": 4}, "labels/0000.txt, line 1: frame is 5"),
        (CAR, f"{CAR} 0.9\n{CAR} 0.8", None, "tracks/0000.txt, line 2: track 7 stands twice in frame 0"),
        (CAR, CAR.replace("Car", "Boat"), None, "tracks/0000.txt, line 1: class 'Boat' is unknown"),
        (CAR, CAR.replace("1.6 4", "-1.6 4"), None, "tracks/0000.txt, line 1: h w l are"),
        (CAR, CAR.replace("0.3", "nan"), None, "tracks/0000.txt, line 1: yaw is nan"),
        (CAR, CAR[:40], None, "tracks/0000.txt, line 1: has"),
        (CAR, f"{late(1)} 0.9\n{CAR} 0.9", {"0000": 4}, "tracks/0000.txt, line 2: frame 0 after 1"),
        ("", "", None, "labels/0000.txt: the sequence has no frames"),
        (CAR, None, None, "tracks/0000.txt: is missing. Where nothing was tracked, write an empty file"),
        (None, "", None, "labels: holds no text file"),
        (None, "", {"0001": 4}, "labels/0001.txt: cannot be read"),
    ],
)
def test_bad_files_are_named_with_their_line(write, labels, tracks, frames, message):
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        read_labelled_tracks(*write(labels, tracks), frames)


def test_a_row_of_nothing_that_is_tracked_stands_as_often_as_it_likes(write):
    labels, tracks = write(f"{CAR}\n{IGNORED}\n{IGNORED}")
    assert len(read_labelled_tracks(labels, tracks)[0].labels.boxes) == 3


def test_missing_folders_and_sequences(write, tmp_path):
    labels, tracks = write()
    with pytest.raises(DataError, match="no such folder of tracks"):
        read_labelled_tracks(labels, tmp_path / "none")
    with pytest.raises(DataError, match="has no sequence 0007, there are 0000"):
        read_labelled_tracks(labels, tracks, names=["0007"])


def test_seqmap(tmp_path):
    path = tmp_path / "seqmap"
    path.write_text("0001 empty 000000 000447\n\n0006 empty 000000 000270\n")
    assert read_seqmap(path) == {"0001": 447, "0006": 270}
    for text, message in (("0001 447\n", "line 1: is '0001 447'"), ("", "names no sequence")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_seqmap(path)
    path.write_text("0001 empty 000000 000447\n" * 2)
    with pytest.raises(DataError, match="line 2: names sequence 0001 again"):
        read_seqmap(path)
