import numpy as np
import pytest

from mambats.formats import DataError
from mambats.formats.euroc import read_euroc
from mambats.formats.repair import REPAIR, Policy
from mambats_datasets.fakes.body import rocking
from mambats_datasets.fakes.euroc import fake, fake_loose


@pytest.fixture
def whole(tmp_path):
    return fake(tmp_path / "V1_01")


@pytest.fixture
def loose(tmp_path):
    return fake_loose(tmp_path / "MH_01")


def edit(path, change):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


def cells(change):
    """Change the cells of every row."""

    def apply(lines):
        return [
            line if line[0] == "#" else ",".join([*line.split(",")[:1], *map(repr, change(line.split(",")[1:]))])
            for line in lines
        ]

    return apply


def test_the_asl_layout_is_read(whole):
    body = rocking(240, 200)
    recording = read_euroc(whole)
    imu, pose = recording.streams["imu"], recording.truth["pose"]
    assert (recording.name, recording.repairs) == ("V1_01", ())
    assert imu.stamps.tolist() == body.stamps.tolist()
    assert imu.channels == ("wx", "wy", "wz", "ax", "ay", "az")
    assert imu.units == ("rad/s",) * 3 + ("m/s^2",) * 3
    np.testing.assert_array_equal(imu.values, np.hstack((body.rate, body.force)))
    assert np.diag(imu.covariance).tolist() == pytest.approx([1.7e-4**2 * 200] * 3 + [2e-3**2 * 200] * 3)
    np.testing.assert_array_equal(pose.values[:, 3:], body.quaternion[24:])
    assert set(recording.truth) == {
        "pose", "velocity", "gyroscope_bias", "accelerometer_bias", "leica", "vicon",
    }  # fmt: skip
    assert recording.truth["leica"].channels == ("px", "py", "pz")
    assert recording.truth["gyroscope_bias"].values[0].tolist() == [0.01] * 3
    assert recording.static["rate"] == 200
    assert (pose.frame, imu.frame) == ("map", "imu")
    assert read_euroc(whole / "mav0").name == "V1_01"


def test_cameras_keep_their_pictures_closed(whole):
    recording = read_euroc(whole)
    camera = recording.images["cam1"]
    assert len(camera) == 24
    assert camera.intrinsics.tolist() == [[4.5, 0, 4], [0, 4.6, 3], [0, 0, 1]]
    assert camera.distortion == (-0.28, 0.07, 0.0002, 1.8e-05)
    assert camera.image(3).tolist() == [[3] * 8] * 6
    point = recording.frames.transform("imu", "cam1") @ (0, 0, 1, 1)
    np.testing.assert_allclose(point[:3], (-0.02, 0.05, 1.01))
    (whole / "mav0/cam1/data" / camera.pictures[2].name).unlink()
    with pytest.raises(DataError, match=rf"line 4: picture {camera.pictures[2].name} is not in .*\(1 of 24"):
        read_euroc(whole)
    read = read_euroc(whole, REPAIR)
    assert len(read.images["cam1"]) == 23
    assert "1 rows whose picture is missing" in read.repairs[0]


def test_loose_tables_are_read(loose, tmp_path):
    body = rocking(240, 200)
    first = read_euroc(loose)
    second = read_euroc(fake_loose(tmp_path / "MH_05", states=True))
    for recording in (first, second):
        np.testing.assert_array_equal(recording.streams["imu"].values[:, :3], body.rate)
        assert recording.truth["pose"].stamps.tolist() == body.stamps.tolist()
        np.testing.assert_allclose(recording.truth["pose"].values[:, 3:], body.quaternion, atol=1e-6)
    assert "velocity" in second.truth
    (loose / "again.txt").write_text((loose / "groundtruth_tum.txt").read_text())
    with pytest.raises(DataError, match=r"groundtruth_tum.txt: a second file gives \['pose'\]"):
        read_euroc(loose)
    (loose / "again.txt").write_text("1 2 3\n")
    with pytest.raises(DataError, match="3 columns; known are 7"):
        read_euroc(loose)


def test_clock_faults_are_refused_or_repaired(loose):
    edit(loose / "imu0.csv", lambda lines: [*lines[:9], lines[8], *lines[9:20], lines[15], *lines[20:]])
    with pytest.raises(DataError, match=r"imu0.csv, line 10: the clock is the same as one before"):
        read_euroc(loose)
    recording = read_euroc(loose, REPAIR)
    assert len(recording.streams["imu"]) == 240
    assert len(recording.repairs) == 2
    assert recording.repairs[1].endswith("1 rows with a clock that goes back, dropped, the first is line 22")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cells(lambda row: [*(float(v) for v in row[:3]), *(float(v) / 9.81 for v in row[3:])]), "one gravity in g"),
        (cells(lambda row: [float(v) * 57.3 for v in row[:3]] + [float(v) for v in row[3:]]), "Declare .*'deg/s'"),
    ],
)
def test_other_units_are_seen(loose, change, message):
    edit(loose / "imu0.csv", change)
    with pytest.raises(DataError, match=message):
        read_euroc(loose)
    assert len(read_euroc(loose, Policy(units="trust")).streams["imu"]) == 240


def test_slow_rates_in_degrees_are_seen_by_the_truth(loose):
    """Rates of 30 deg/s are no impossible rad/s: only the pose tells."""
    body = rocking(240, 200)
    from scipy.spatial.transform import Rotation

    tenth = Rotation.from_rotvec(Rotation.from_quat(body.quaternion).as_rotvec() / 10).as_quat()
    lines = (loose / "groundtruth_tum.txt").read_text().splitlines()[1:]
    slow = [" ".join([*line.split()[:4], *map(str, turn)]) for line, turn in zip(lines, tenth, strict=True)]
    (loose / "groundtruth_tum.txt").write_text("\n".join(slow))
    edit(loose / "imu0.csv", cells(lambda row: [float(v) * 5.73 for v in row[:3]] + [float(v) for v in row[3:]]))
    with pytest.raises(DataError, match="Are the rates in deg/s"):
        read_euroc(loose)


def test_quaternions_in_another_order_are_seen_by_gravity(loose, whole):
    swapped = loose / "groundtruth_tum.txt"
    edit(swapped, lambda rows: [" ".join([*r.split()[:4], r.split()[7], *r.split()[4:7]]) for r in rows])
    with pytest.raises(DataError, match="taken as 'scalar first, w x y z'"):
        read_euroc(loose)
    truth = whole / "mav0/state_groundtruth_estimate0/data.csv"
    edit(truth, cells(lambda row: [float(v) for v in (*row[:3], *row[4:7], row[3], *row[7:])]))
    with pytest.raises(DataError, match="taken as 'scalar last, x y z w'"):
        read_euroc(whole)


def test_quaternions_of_other_lengths_are_located(loose):
    edit(loose / "groundtruth_tum.txt", lambda rows: [*rows[:5], rows[5].rpartition(" ")[0] + " 3", *rows[6:]])
    with pytest.raises(DataError, match=r"groundtruth_tum.txt, line 6: quaternion .* needed 1 \(1 such"):
        read_euroc(loose)
    assert "far from 1, marked unobserved" in read_euroc(loose, REPAIR).repairs[0]


def test_bursts_of_nan_are_unobserved(loose):
    edit(
        loose / "imu0.csv",
        lambda rows: [*rows[:30], *(f"{r.split(',')[0]},,,,nan,1,1" for r in rows[30:40]), *rows[40:]],
    )
    recording = read_euroc(loose)
    assert (~recording.streams["imu"].observed).sum() == 40
    assert "10 of 240 rows" in recording.repairs[0]
    assert recording.repairs[0].endswith("10 rows from line 31")


def test_missing_and_damaged_files_are_named(whole, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_euroc(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no IMU. Needed mav0/imu0/data.csv"):
        read_euroc(tmp_path / "empty")
    (whole / "mav0/imu0/sensor.yaml").write_text("T_BS: [1, 2\n")
    with pytest.raises(DataError, match=r"sensor.yaml: not a sensor's YAML"):
        read_euroc(whole)
    yaml = (whole / "mav0/cam0/sensor.yaml").read_text()
    (whole / "mav0/imu0/sensor.yaml").unlink()
    (whole / "mav0/cam0/sensor.yaml").write_text(yaml.replace("-1.0", "1.0"))
    with pytest.raises(DataError, match=r"cam0/sensor.yaml: not a sensor's YAML.*is not a rotation"):
        read_euroc(whole)
    (whole / "mav0/cam0/sensor.yaml").write_text(yaml)
    assert read_euroc(whole).streams["imu"].covariance is None
    edit(whole / "mav0/imu0/data.csv", lambda rows: [r.rpartition(",")[0] for r in rows])
    with pytest.raises(DataError, match=r"imu0/data.csv: 6 columns, needed 7"):
        read_euroc(whole)


def test_real_sequences_point_up(data_root):
    folders = [path for path in sorted((data_root / "fusion/euroc").iterdir()) if path.is_dir()]
    assert folders
    for folder in folders:
        recording = read_euroc(folder)
        imu, pose = recording.streams["imu"], recording.truth["pose"]
        assert imu.values.shape[1] == 6
        assert abs(np.median(np.diff(imu.stamps)) / 1e6 - 5) < 0.1
        assert np.median(np.linalg.norm(imu.values[:, 3:], axis=1)) == pytest.approx(9.81, abs=0.5)
        assert np.linalg.norm(pose.values[:, 3:], axis=1) == pytest.approx(1, abs=1e-3)
        assert imu.stamps[0] <= pose.stamps[0] < pose.stamps[-1] <= imu.stamps[-1] + 10**9
