import random

import pytest

from mambats.formats import DataError
from mambats.formats.kitti import read_object, read_poses, read_raw, read_tracking
from mambats.formats.nuscenes import read_nuscenes
from mambats.formats.repair import REFUSE, REPAIR
from mambats_datasets.fakes import kitti, nuscenes

INSERTED = [b"nan", b"-", b"1e400", b"\n", b" ", b"inf", b"\x00", b"9" * 30, b"\xff\xfe", b",,"]


def tracking(folder):
    root = kitti.fake(folder, frames=4)
    names = ["calib/0000.txt", "label_02/0000.txt", "det3d_pointrcnn/Car/0000.txt", "det2d_rrc/Car/0000.txt"]
    names += ["oxts/0000.txt", "evaluate_tracking.seqmap.training", "velodyne/0000/000003.bin"]
    return [root / name for name in names], lambda policy: read_tracking(root, "0000", policy=policy)


def frame(folder):
    root = kitti.fake_object(folder)
    return [root / "label_2/000000.txt"], lambda policy: read_object(root, "000000", policy=policy)


def odometry(folder):
    root = kitti.fake_odometry(folder)
    poses, home = root / "poses/07.txt", root / "sequences/07"
    times, rig = home / "times.txt", home / "calib.txt"
    return [poses, times, rig], lambda policy: read_poses(poses, times, calibration=rig, policy=policy)


def raw(folder):
    drive = kitti.fake_raw(folder, frames=4)
    names = ["oxts/data/0000000002.txt", "oxts/timestamps.txt", "velodyne_points/timestamps.txt"]
    names += ["../calib_cam_to_cam.txt", "../calib_velo_to_cam.txt"]
    return [drive / name for name in names], lambda policy: read_raw(drive, policy=policy)


def sample(folder):
    path = nuscenes.fake(folder)
    return [path], lambda policy: read_nuscenes(path, policy=policy)


def damaged(content, rng):
    """Cut, flip, delete, insert or repeat some bytes."""
    harmed, at = bytearray(content), rng.randrange(len(content))
    match rng.randrange(5):
        case 0:
            return harmed[:at]
        case 1:
            harmed[at] = rng.randrange(256)
        case 2:
            del harmed[at : at + rng.randint(1, 30)]
        case 3:
            harmed[at:at] = rng.choice(INSERTED)
        case _:
            other = rng.randrange(len(content))
            harmed[at:at] = content[other : other + 60]
    return harmed


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layout", [tracking, frame, odometry, raw, sample], ids=lambda layout: layout.__name__)
def test_damage_is_refused_by_name_or_does_no_harm(tmp_path, layout):
    paths, read = layout(tmp_path)
    rng, refused = random.Random(0), 0
    for _ in range(30):
        path = rng.choice(paths)
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, rng))
        try:
            read(rng.choice([REFUSE, REPAIR]))
        except DataError as error:
            assert str(tmp_path) in str(error), error
            refused += 1
        path.write_bytes(whole)
    assert refused > 10
