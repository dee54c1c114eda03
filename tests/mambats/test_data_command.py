"""`mambats data`: what a user sees of a recording, and the files that come out of a conversion."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mambats.cli import main
from mambats.formats.opener import open_any
from mambats.formats.store import save_recording
from mambats.series import FrameTree, ImageStream, RaggedStream, Recording, Rigid, Stream

POSE = ("px", "py", "pz", "qx", "qy", "qz", "qw")
IMU = ("wx", "wy", "wz", "ax", "ay", "az")
SECOND = 10**9


def drive():
    """100 Hz with a hole of 0.5 s, and poses at 10 Hz that begin a second later."""
    rows = np.delete(np.arange(1000), np.arange(400, 450))
    values = np.tile([0.0, 0, 0, 0, 0, 9.81], (len(rows), 1))
    values[:, 0] = np.linspace(-1, 2, len(rows))
    values[5, 1] = np.nan
    imu = Stream(rows * SECOND // 100, values, IMU, np.isfinite(values), ("rad/s",) * 3 + ("m/s^2",) * 3, "imu")
    poses = np.tile([1.0, 2, 3, 0, 0, 0, 1], (50, 1))
    pose = Stream(SECOND + np.arange(50) * SECOND // 10, poses, POSE, None, ("m",) * 3 + ("",) * 4, "map")
    lidar = RaggedStream(np.array([SECOND]), np.array([0, 2]), np.ones((2, 3)), ("x", "y", "z"), "m", "lidar")
    camera = ImageStream(np.array([SECOND]), [np.zeros((4, 6), np.uint8)], "camera", np.eye(3))
    tree = FrameTree((Rigid("base_link", "imu", (0, 0, 0.5)), Rigid("imu", "lidar", (1, 0, 0))))
    parts = {"lidar": lidar}, {"camera": camera}
    return Recording("drive", {"imu": imu}, {"mass": 2.0}, *parts, tree, {"pose": pose}, ("imu: 3 rows dropped",))


@pytest.fixture
def saved(tmp_path):
    return save_recording(drive(), tmp_path / "drive")


def info(path, capsys, *words):
    assert main(["data", "info", str(path), *words]) == 0
    return capsys.readouterr().out


def test_info_as_json_says_what_is_in_it(saved, capsys):
    [facts] = json.loads(info(saved, capsys, "--json"))
    assert (facts["name"], facts["format"], facts["static"]) == ("drive", "recording", {"mass": 2.0})
    imu, lidar, camera, pose = facts["streams"]
    assert imu["rate"]["median"] == pytest.approx(100)
    assert imu["rate"]["min"] == pytest.approx(1 / 0.51)
    assert imu["gaps"] == {"longest": 0.51, "after": 399 * SECOND // 100, "above": 1}
    assert imu["channels"][0] == {"name": "wx", "unit": "rad/s", "min": -1.0, "max": 2.0, "missing": 0}
    assert imu["channels"][1]["missing"] == 1
    assert (lidar["kind"], lidar["table_rows"]) == ("tables", {"min": 2, "median": 2.0, "max": 2})
    assert (camera["kind"], camera["size"]) == ("pictures", [6, 4])
    assert (pose["kind"], pose["rows"]) == ("truth", 50)
    # A single sweep or picture has no span.
    assert facts["overlap"] == {"start": SECOND, "end": SECOND * 59 // 10, "apart": None}
    assert facts["frames"][0] == {
        "parent": "base_link", "child": "imu", "translation": [0, 0, 0.5], "quaternion": [0, 0, 0, 1]
    }  # fmt: skip
    assert facts["repairs"] == ["imu: 3 rows dropped"]


def test_info_as_text_names_all_of_it(saved, capsys):
    text = info(saved, capsys)
    for words in ("drive (recording): 4 streams", "9.990 s from 0.000 s", "wx             -1 .. 2 rad/s", "1 missing"):
        assert words in text
    assert "      imu  at 0 0 0.5 m" in text and "        lidar  at 1 0 0 m" in text
    assert "6 x 4 pixels, intrinsics known" in text and "note: imu: 3 rows dropped" in text


def test_no_overlap_is_said(tmp_path, capsys):
    early, late = (Stream(np.arange(3) + start, np.ones((3, 1)), ("a",)) for start in (0, 100))
    save_recording(Recording("apart", {"early": early, "late": late}), tmp_path / "apart")
    assert "NO OVERLAP: 'early' ends before 'late' begins" in info(tmp_path / "apart", capsys)


def test_empty_and_single_streams_are_shown(tmp_path, capsys):
    none = Stream(np.zeros(0, np.int64), np.zeros((0, 1)), ("a",))
    one = Stream(np.array([5]), np.full((1, 1), np.nan), ("a",), np.zeros((1, 1), bool))
    save_recording(Recording("thin", {"none": none, "one": one}), tmp_path / "thin")
    text = info(tmp_path / "thin", capsys)
    assert text.count("never measured") == 2


def test_many_recordings_are_cut_short(tmp_path, capsys):
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("1 0 0 0 0 0 0 1\n2 0 0 0 0 0 0 1\n")
    assert "and 2 more recordings, 2 to 2 rows a stream; show them with --most 5" in info(tmp_path, capsys)
    assert len(json.loads(info(tmp_path, capsys, "--json"))) == 5


def test_faults_are_listed_or_refused(tmp_path, capsys):
    path = tmp_path / "walk.txt"
    path.write_text("".join(f"{t} 0 0 0 0 0 0 1\n" for t in [*range(20), 18, 20]))
    assert "1 rows with a clock that goes back, dropped, the first is line 21" in info(path, capsys)
    assert main(["data", "info", str(path), "--strict"]) == 2
    assert "walk.txt, line 21: the clock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "data: the following arguments are required"),
        (["info"], "data info: the following arguments are required: path"),
        (["info", "{tmp}/no"], "no: there is no such file or folder"),
        (["info", "{tmp}/odd.dat"], "is of no format that is known. Looked for:"),
        (["convert", "{tmp}/drive", "{tmp}/out.xyz"], "what is '.xyz'? Say --to"),
        (["convert", "{tmp}/drive", "{tmp}/odd.dat", "--to", "mcap"], "odd.dat is there already"),
        (["convert", "{tmp}/drive", "{tmp}/x.mcap", "--rename", "imu"], "--rename takes OLD=NEW, was given 'imu'"),
        (["convert", "{tmp}/drive", "{tmp}/x.mcap", "--rename", "gps=a"], "there is no stream 'gps', streams are imu"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(saved, tmp_path, capsys, words, message):
    (tmp_path / "odd.dat").write_text("odd")
    assert main(["data", *(word.replace("{tmp}", str(tmp_path)) for word in words)]) == 2
    assert message in capsys.readouterr().err


def convert(saved, out, capsys, *words):
    assert main(["data", "convert", str(saved), str(out), *words]) == 0
    return capsys.readouterr().out


def test_to_mcap_and_back_to_a_recording(saved, tmp_path, capsys):
    assert "note: imu: 3 rows dropped" in convert(saved, tmp_path / "a.mcap", capsys)
    convert(tmp_path / "a.mcap", tmp_path / "b", capsys, "--rename", "/imu=inertial")
    [made], [first] = open_any(tmp_path / "b"), open_any(saved)
    np.testing.assert_array_equal(made.streams["inertial"].values, first.streams["imu"].values)
    np.testing.assert_array_equal(made.truth["pose"].values, first.truth["pose"].values)
    assert made.frames == first.frames and set(made.ragged) == {"lidar"} and set(made.images) == {"camera"}


def test_to_tum_kitti_and_csv(saved, tmp_path, capsys):
    [first] = open_any(saved)
    convert(saved, tmp_path / "walk.tum", capsys)
    [tum] = open_any(tmp_path / "walk.tum")
    np.testing.assert_array_equal(tum.streams["pose"].values, first.truth["pose"].values)
    np.testing.assert_array_equal(tum.streams["pose"].stamps, first.truth["pose"].stamps)
    convert(saved, tmp_path / "07.txt", capsys, "--to", "kitti")
    assert len((tmp_path / "07.txt").read_text().splitlines()) == 50
    assert "lidar: CSV holds rows of numbers only" in convert(saved, tmp_path / "log.csv", capsys)
    [log] = open_any(tmp_path / "log.csv")
    np.testing.assert_array_equal(log.streams["imu"].values, first.streams["imu"].values)
    np.testing.assert_array_equal(log.streams["truth/pose"].values, first.truth["pose"].values)


def test_several_recordings_go_to_a_folder(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in ("a b", "c"):
        (tmp_path / "in" / f"{name}.txt").write_text("1 0 0 0 0 0 0 1\n2 0 0 0 0 0 0 1\n")
    convert(tmp_path / "in", tmp_path / "out", capsys)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0_a_b", "1_c"]
    convert(tmp_path / "in", tmp_path / "mcaps", capsys, "--to", "mcap")
    assert sorted(path.name for path in (tmp_path / "mcaps").iterdir()) == ["0_a_b.mcap", "1_c.mcap"]


def test_overwrite_replaces(saved, tmp_path, capsys):
    convert(saved, tmp_path / "again", capsys)
    convert(saved, tmp_path / "again", capsys, "--overwrite")
    assert open_any(tmp_path / "again")[0].name == "drive"


def test_help_loads_nothing_heavy():
    code = """import sys
from mambats.cli import main
for words in (["--help"], ["data", "--help"], ["data", "convert", "--help"]):
    try: main(words)
    except SystemExit: pass
print([name for name in ("torch", "polars", "numpy", "rosbags") if name in sys.modules], file=sys.stderr)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]" and "data info PATH" in done.stdout and "--rename" in done.stdout
