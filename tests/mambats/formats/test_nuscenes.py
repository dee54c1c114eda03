import pickle

import numpy as np
import pytest

from mambats.formats import DataError
from mambats.formats.nuscenes import Infos, read_nuscenes
from mambats.formats.repair import REPAIR
from mambats.pictures import motion_between, project
from mambats_datasets.fakes import nuscenes


def changed(path, change):
    infos = pickle.loads(path.read_bytes())
    change(infos["data_list"][0])
    path.write_bytes(pickle.dumps(infos, protocol=2))
    return path


def test_a_sample_is_one_recording(tmp_path):
    recording = read_nuscenes(nuscenes.fake(tmp_path))
    assert recording.name == "fa4e"
    lidar, labels = recording.ragged["lidar"], recording.ragged["labels"]
    assert lidar.channels == ("x", "y", "z", "intensity", "ring")
    assert lidar.stamps.tolist() == [1_532_402_927_647_951_000]
    assert labels.labels["class"] == ("car", "truck", "other")
    assert labels.table(0)[0, :7].tolist() == [6, 12, 0, 4, 2, 1.6, 0.3]
    assert sorted(recording.images) == sorted(f"camera_{key.lower()}" for key in nuscenes.CAMERAS)
    assert recording.images["camera_front"].stamps.tolist() == [1_532_402_927_642_951_000]
    assert recording.frames.names[:2] == ("base_link", "lidar")
    assert recording.repairs == ()


def test_the_ego_vehicle_moved_between_the_cameras(tmp_path):
    pose = read_nuscenes(nuscenes.fake(tmp_path)).truth["pose"]
    speed = np.linalg.norm(np.diff(pose.values[:, :3], axis=0), axis=1) / np.diff(pose.stamps) * 1e9
    assert len(pose) == 7
    np.testing.assert_allclose(speed, nuscenes.SPEED, rtol=1e-5)


def test_points_with_the_motion_are_where_lidar2cam_puts_them(tmp_path):
    path = nuscenes.fake(tmp_path)
    recording = read_nuscenes(path)
    published = pickle.loads(path.read_bytes())["data_list"][0]["images"]
    lidar = recording.ragged["lidar"]
    for key in nuscenes.CAMERAS:
        name = f"camera_{key.lower()}"
        camera = recording.images[name]
        moved = motion_between(recording.truth["pose"], int(lidar.stamps[0]), int(camera.stamps[0]))
        tree = recording.frames
        transform = tree.transform(name, "base_link") @ moved @ tree.transform("base_link", "lidar")
        np.testing.assert_allclose(transform, published[f"CAM_{key}"]["lidar2cam"], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("lidar_points"),
            r"\['data_list'\]\[0\]\['lidar_points'\] is missing, there are keys sample_idx",
        ),
        (lambda s: s["images"]["CAM_BACK"].pop("cam2img"), r"\['CAM_BACK'\]\['cam2img'\] is missing"),
        (lambda s: s.update(ego2global=[[1, 2], [3, 4]]), r"\['ego2global'\] has shape \(2, 2\), needed 4 x 4"),
        (lambda s: s.update(timestamp=1.5e15), r"\['timestamp'\] is 1500000000000000.0, needed seconds"),
        (lambda s: s["lidar_points"].update(num_pts_feats=4), r"\['num_pts_feats'\] is 4, needed 5"),
        (lambda s: s["lidar_points"].update(lidar_path="../../x.bin"), r"x\.bin is not there nor in samples/LIDAR_TOP"),
        (lambda s: s["instances"][0]["bbox_3d"].__setitem__(3, -1), r"\[0\]\['bbox_3d'\] is .*sizes above 0"),
        (lambda s: s["instances"][0].update(bbox_label_3d=7), r"\['bbox_label_3d'\] is 7, classes are 0 to 1"),
        (lambda s: s["instances"][0]["bbox_3d"].__setitem__(0, "far"), r"\['bbox_3d'\]\[0\] is 'far', needed a number"),
        (lambda s: s.update(images=[1]), r"\['images'\] is a list, needed a dict"),
    ],
)
def test_faults_are_named_by_their_place(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read_nuscenes(changed(nuscenes.fake(tmp_path), change))


def test_a_cut_sweep_is_named_or_repaired(tmp_path):
    path = nuscenes.fake(tmp_path)
    [sweep] = tmp_path.glob("*.pcd.bin")
    whole = len(read_nuscenes(path).ragged["lidar"].values)
    sweep.write_bytes(sweep.read_bytes()[:-6])
    with pytest.raises(DataError, match=r"pcd\.bin: has \d+ bytes, no multiple of 20 .*: 14 from byte \d+"):
        read_nuscenes(path)
    recording = read_nuscenes(path, policy=REPAIR)
    assert len(recording.ragged["lidar"].values) == whole - 1
    assert "cut off after 14 of 20 bytes" in recording.repairs[0]


def test_a_camera_without_its_picture_is_left_out_and_reported(tmp_path):
    path = nuscenes.fake(tmp_path)
    next(tmp_path.glob("*CAM_BACK_LEFT*")).unlink()
    recording = read_nuscenes(path)
    assert "camera_back_left" not in recording.images and len(recording.images) == 5
    assert "camera_back_left left out" in recording.repairs[0]


def test_files_are_found_in_the_folders_of_the_download(tmp_path):
    path = nuscenes.fake(tmp_path / "flat")
    for file in list(path.parent.iterdir()):
        if file != path:
            home = tmp_path / "data/samples" / file.name.split("__")[1]
            home.mkdir(parents=True, exist_ok=True)
            file.rename(home / file.name)
    assert len(read_nuscenes(path, folder=tmp_path / "data").images) == 6


def test_samples_and_versions_are_named(tmp_path):
    infos = Infos(nuscenes.fake(tmp_path))
    assert len(infos) == 1
    with pytest.raises(DataError, match="has no sample 1, it has 1"):
        infos.recording(1)
    old = tmp_path / "old.pkl"
    old.write_bytes(pickle.dumps({"infos": [], "metadata": {}}))
    with pytest.raises(DataError, match="version 1.0"):
        Infos(old)


def test_the_real_sample(data_root):
    [path] = (data_root / "fusion/nuscenes_frame").glob("*.pkl")
    recording = read_nuscenes(path)
    assert recording.ragged["lidar"].values.shape == (34_688, 5)
    assert {stream.image(0).shape for stream in recording.images.values()} == {(900, 1600, 3)}
    # The poses taken out of lidar2cam lie on the ground plane of the map, as those of nuScenes do.
    assert np.abs(recording.truth["pose"].values[:, 2]).max() < 1e-5
    lidar, camera = recording.ragged["lidar"], recording.images["camera_front"]
    transform = recording.frames.transform("camera_front", "lidar")
    seen = project(lidar.table(0)[:, :3], transform, camera.intrinsics, size=(1600, 900))
    assert 2000 < len(seen.rows) < 6000
