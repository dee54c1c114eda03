import pytest

from mambats.data import DataError
from mambats_datasets import NotFoundError, NuScenes
from mambats_datasets.fakes.nuscenes import fake


def test_samples_are_found_below_the_root(tmp_path):
    fake(tmp_path / "fusion/nuscenes_frame")
    [recording] = NuScenes(str(tmp_path)).recordings()
    assert recording.name == "fa4e" and len(recording.images) == 6
    assert NuScenes(str(tmp_path), samples=0).recordings() == []
    fake(tmp_path / "fusion/nuscenes_frame/more").rename(tmp_path / "fusion/nuscenes_frame/second.pkl")
    with pytest.raises(DataError, match="holds 2 .pkl files: name one"):
        NuScenes(str(tmp_path)).recordings()
    assert len(NuScenes(str(tmp_path), infos="second.pkl").recordings()) == 1


def test_what_is_not_here_is_said():
    with pytest.raises(NotFoundError, match="nuscenes_frame has to be fetched by hand"):
        NuScenes().recordings()


def test_the_real_sample_is_read(data_root):
    [recording] = NuScenes(str(data_root)).recordings()
    assert len(recording.ragged["lidar"].values) == 34_688
