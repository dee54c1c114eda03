"""LiDAR: fixed points seen by a moving sensor come back, voxels are counted exactly, pictures go there and back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats.preprocess.lidar import (
    CropBox,
    CropRange,
    Deskew,
    FixedFrame,
    GroundRemoval,
    RangeImage,
    VoxelGrid,
)
from mambats.preprocess.transform import PoseTrack, exp_se3, from_poses, invert, to_poses
from mambats.series import RaggedStream, Stream

MAKES = [np.asarray, torch.as_tensor]
TWIST = np.array([0.3, -0.2, 1.5, 12.0, -1.0, 0.4])
POSE = ("px", "py", "pz", "qx", "qy", "qz", "qw")


def apply(motions, points):
    return np.einsum("...ij,...j->...i", motions[..., :3, :3], points) + motions[..., :3, 3]


def distorted(seed=0, count=500, start=0.0):
    """Fixed points, and where a sensor that moves at TWIST from the origin sees each at its own time."""
    rng = np.random.default_rng(seed)
    world, times = rng.uniform(-40, 40, (count, 3)), rng.uniform(0, 0.1, count)
    seen = apply(invert(exp_se3((start + times)[:, None] * TWIST)), world)
    return world, times, seen


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("reference", [0.0, 0.05, 0.1])
def test_fixed_points_come_back_at_constant_twist(make, reference):
    world, times, seen = distorted()
    wanted = apply(invert(exp_se3(reference * TWIST)), world)
    made = Deskew(reference).steady(make(seen), times, TWIST)
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-9)
    assert np.abs(seen - wanted).max() > 0.5
    both = Deskew(reference).steady(
        make(np.stack([seen, seen])), np.stack([times, times]), np.stack([TWIST, 0 * TWIST])
    )
    np.testing.assert_allclose(both[0], wanted, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(both[1], seen)


def constant_track(until=0.4, every=0.02, mounting=None):
    times = np.arange(0, until + every / 2, every)
    motions = exp_se3(times[:, None] * TWIST)
    pose = Stream(
        (times * 1e9).round().astype(np.int64),
        to_poses(motions if mounting is None else motions @ np.linalg.inv(mounting)),
        POSE,
        frame="map",
    )
    return PoseTrack(pose, mounting)


def sweeps(dtype=np.float64):
    parts, worlds, stamps = [], [], [0, 10**8, 15 * 10**7, 2 * 10**8]
    for row, stamp in enumerate(stamps):
        world, times, seen = distorted(row, [100, 0, 50, 30][row], stamp * 1e-9)
        parts.append(np.c_[np.arange(len(world)), seen, times])
        worlds.append(world)
    splits = np.concatenate([[0], np.cumsum([len(p) for p in parts])])
    values = np.concatenate(parts).astype(dtype)
    return RaggedStream(np.array(stamps), splits, values, ("ring", "x", "y", "z", "t"), frame="lidar"), np.concatenate(
        worlds
    )


def test_fixed_points_come_back_along_a_track_of_another_frame():
    mounting = from_poses(np.array([0.5, 0.1, 1.5, 0.1, 0.2, 0.3, np.sqrt(1 - 0.14)]))
    stream, world = sweeps()
    for track in (constant_track(), constant_track(mounting=mounting)):
        made = Deskew(0.02).ragged(stream, track)
        np.testing.assert_array_equal(made.values[:, 0], stream.values[:, 0])
        assert (made.values[:, 4] == 0.02).all()
        at = replace(made, stamps=made.stamps + 2 * 10**7)
        fixed = FixedFrame(track)(at)
        np.testing.assert_allclose(fixed.values[:, 1:4], world, rtol=0, atol=1e-9)
        assert fixed.frame == "map"
        back = FixedFrame(track).inverse(fixed, "lidar")
        np.testing.assert_allclose(back.values, made.values, rtol=0, atol=1e-9)


def test_a_stream_of_twists_does_as_well_where_they_are_constant():
    stream, _ = sweeps()
    motion = Stream(np.array([0, 10**9]), np.stack([TWIST, TWIST]), ("wx", "wy", "wz", "vx", "vy", "vz"))
    np.testing.assert_allclose(
        Deskew().ragged(stream, motion).values, Deskew().ragged(stream, constant_track()).values, rtol=0, atol=1e-9
    )


@pytest.mark.slow
def test_the_ground_of_a_simulated_drive_is_flat_again():
    from mambats_datasets.synthetic.robot import SimulatedRobots
    from mambats_datasets.synthetic.world import Lidar, StreetWorlds

    lidar = Lidar(rings=8, columns=90, noise=0.0, dropout=0.0)
    drive = StreetWorlds(SimulatedRobots("car", series=1, duration=2.0), lidar=lidar, sensors=("lidar",)).recordings()[
        0
    ]
    seen = drive.ragged["lidar"]
    track = PoseTrack(drive.truth["pose"], drive.frames.transform("base_link", "lidar"), beyond=0.1)
    ground = drive.ragged["lidar_labels"].values[:, 0] == -1
    raw, made = FixedFrame(track)(seen).values, FixedFrame(track)(Deskew().ragged(seen, track)).values
    assert raw[ground, 2].std() > 1e-3 and made[ground, 2].std() < 1e-4  # metres; measured 6e-3 and 2e-6 over 3 s


def test_what_cannot_be_undistorted_is_named():
    stream, _ = sweeps()
    with pytest.raises(ValueError, match=r"times are outside of the poses by up to 0.\d+ s, 0 s are allowed"):
        Deskew().ragged(stream, constant_track(0.2))
    with pytest.raises(ValueError, match="'t' is missing"):
        Deskew().ragged(replace(stream, channels=("ring", "x", "y", "z", "time")), constant_track())
    motion = Stream(np.array([0, 10**7]), np.zeros((2, 6)), ("wx", "wy", "wz", "vx", "vy", "vz"))
    with pytest.raises(ValueError, match="ns is outside of the motion, 0 to 10000000 ns"):
        Deskew().ragged(stream, motion)
    timeless = stream.values.copy()
    timeless[3, 4] = np.nan
    made = Deskew().ragged(replace(stream, values=timeless), constant_track()).values
    assert np.isnan(made[3, 1:4]).all() and np.isfinite(np.delete(made, 3, 0)).all()


def test_boxes_turn_and_move_and_come_back():
    track = constant_track()
    rng = np.random.default_rng(0)
    values = np.c_[rng.uniform(-20, 20, (5, 3)), rng.uniform(-3, 3, 5), rng.standard_normal((5, 2))]
    stream = RaggedStream(np.array([10**8, 3 * 10**8]), np.array([0, 2, 5]), values, ("x", "y", "z", "yaw", "vx", "vy"))
    fixed = FixedFrame(track)(stream)
    motions = exp_se3(np.array([0.1, 0.1, 0.3, 0.3, 0.3])[:, None] * TWIST)
    np.testing.assert_allclose(fixed.values[:, :3], apply(motions, values[:, :3]), atol=1e-9)
    ahead = np.c_[np.cos(values[:, 3]), np.sin(values[:, 3]), np.zeros(5)]
    ahead = np.einsum("nij,nj->ni", motions[:, :3, :3], ahead)
    np.testing.assert_allclose(fixed.values[:, 3], np.arctan2(ahead[:, 1], ahead[:, 0]), atol=1e-9)
    flat = np.array([0, 0, 1.5, 12.0, -1.0, 0.0])
    pose = Stream(np.array([0, 10**9]), to_poses(exp_se3(np.array([[0.0], [1.0]]) * flat)), POSE, frame="map")
    planar = FixedFrame(PoseTrack(pose))
    np.testing.assert_allclose(planar.inverse(planar(stream)).values, values, atol=1e-9)


def test_gathered_sweeps_lie_on_each_other():
    stream, world = sweeps()
    track = constant_track()
    gathered = FixedFrame(track).gather(Deskew().ragged(stream, track), 3)
    np.testing.assert_array_equal(np.diff(gathered.splits), [100, 100, 150, 80])
    np.testing.assert_allclose(np.unique(gathered.values[gathered.splits[2] : gathered.splits[3], -1]), [0, 0.15])
    fixed = FixedFrame(track)(gathered).values[gathered.splits[3] :, 1:4]
    np.testing.assert_allclose(fixed, world[100:], atol=1e-9)
    assert gathered.frame == "lidar" and gathered.channels[-1] == "age"


def loop_voxels(points, size):
    groups = {}
    for row, point in enumerate(points):
        if np.isfinite(point[:3]).all():
            groups.setdefault(tuple(np.floor(point[:3] / size).astype(int)), []).append(row)
    return dict(sorted(groups.items()))


@pytest.mark.parametrize("reduce", ["mean", "first", "centre"])
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 200]), st.sampled_from([0.3, 5.0, 1e-4]))
def test_voxels_equal_a_loop_and_tensors_equal_arrays(reduce, seed, count, size):
    rng = np.random.default_rng(seed)
    points = np.c_[rng.uniform(-4, 4, (count, 3)), rng.random(count)]
    points[rng.random(count) < 0.05] = np.nan
    made = VoxelGrid(size, reduce)(points)
    wanted = loop_voxels(points, size)
    assert [tuple(cell) for cell in made.cells] == list(wanted)
    np.testing.assert_array_equal(made.counts, [len(rows) for rows in wanted.values()])
    for voxel, (cell, rows) in enumerate(wanted.items()):
        assert (made.inverse[rows] == voxel).all()
        value = points[rows].mean(0) if reduce == "mean" else points[rows[0]]
        if reduce == "centre":
            value = np.r_[(np.array(cell) + 0.5) * size, value[3:]]
        np.testing.assert_allclose(made.points[voxel], value, atol=1e-12)
    assert (made.inverse == -1).sum() == np.isnan(points[:, 0]).sum()
    other = VoxelGrid(size, reduce)(torch.from_numpy(points))
    for ours, theirs in zip(made, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_voxels_of_sweeps_stay_apart():
    stream, _ = sweeps(np.float32)
    made = VoxelGrid(20.0).ragged(stream)
    assert made.values.dtype == np.float32 and made.channels == stream.channels
    for row in range(4):
        alone = stream.values[stream.splits[row] : stream.splits[row + 1]][:, [1, 2, 3, 0, 4]]
        one = VoxelGrid(20.0)(np.ascontiguousarray(alone)).points[:, [3, 0, 1, 2, 4]]
        np.testing.assert_array_equal(made.values[made.splits[row] : made.splits[row + 1]], one)
    with pytest.raises(ValueError, match="voxels, too many to number: crop them first"):
        VoxelGrid(1e-6)(np.array([[0, 0, 0], [1e3, 1e3, 1e3]]))
    with pytest.raises(ValueError, match="up to 1e\\+30 m away, too far to number"):
        VoxelGrid(0.1)(np.full((2, 3), 1e30))


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("elevations", [None, [0.1, 0.02, -0.1, -0.3]])
def test_pictures_go_back_and_forth_exactly(make, elevations):
    picture = RangeImage(16, 90, 0.2, -0.4, elevations)
    rng = np.random.default_rng(0)
    points = rng.standard_normal((3000, 3)) * [10, 10, 2]
    made = picture(make(points))
    filled = np.asarray(made.source) >= 0
    assert 0.3 < filled.mean() < 1
    np.testing.assert_array_equal(np.isfinite(np.asarray(made.ranges)), filled)
    back = np.asarray(picture.inverse(made.ranges))
    again = picture(make(np.ascontiguousarray(back.reshape(-1, 3))))
    np.testing.assert_allclose(again.ranges, made.ranges, rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(again.source)[filled], np.flatnonzero(filled))
    chosen = points[np.asarray(made.source)[filled]]
    np.testing.assert_allclose(np.linalg.norm(chosen, axis=1), np.asarray(made.ranges)[filled], rtol=1e-12)
    if elevations is None:  # half a cell each way
        angle = np.linalg.norm(chosen - back[filled], axis=1) / np.linalg.norm(chosen, axis=1)
        assert angle.max() < np.hypot(np.pi / 90, 0.6 / 16 / 2) * 1.001


def test_the_nearest_point_wins_and_equal_ones_go_by_row():
    picture = RangeImage(4, 8, 0.5, -0.5)
    points = np.array(
        [[5.0, 1, 0], [2.0, 0.4, 0], [2.0, 0.4, 0], [np.nan, 0, 0], [0, 0, 0], [0, 0, 9.0], [-1, 0.0, 0], [-1, -0.0, 0]]
    )
    made = picture(points)
    assert sorted(made.source[made.source >= 0].tolist()) == [1, 6]
    cell, _ = picture.cells(torch.from_numpy(points))
    assert cell.tolist()[3:6] == [-1, -1, -1] and cell[6] == cell[7]


def test_crops_and_ground():
    stream, _ = sweeps()
    box = CropBox((-25, -25, -25), (25, 25, 25))
    inside = box.ragged(stream)
    assert np.abs(inside.values[:, 1:4]).max() <= 25 and len(inside.splits) == 5
    outside = CropBox((-25, -25, -25), (25, 25, 25), "outside").ragged(stream)
    assert len(inside.values) + len(outside.values) == len(stream.values)
    near = CropRange(5.0, 20.0)(torch.tensor([[1.0, 0, 0], [6, 0, 0], [30, 0, 0], [torch.nan, 6, 0]]))
    assert near.tolist() == [[6, 0, 0]]
    with pytest.raises(ValueError, match="low"):
        CropBox((0, 0, 0), (1, 0, 1))


def test_ground_is_taken_and_obstacles_stay():
    rng = np.random.default_rng(0)
    ground = np.c_[rng.uniform(-30, 30, (4000, 2)), np.zeros(4000)]
    ground[:, 2] = -1.7 + 0.02 * ground[:, 0] + 0.02 * rng.standard_normal(4000)
    car = rng.uniform([5, -1, -1.0], [9, 1, 0.0], (500, 3))
    sweep = np.r_[ground, car]
    taken = GroundRemoval(1.7).ground(sweep)
    assert taken[:4000].mean() > 0.999 and not taken[4000:].any()
    stream = RaggedStream(np.array([0, 1]), np.array([0, 0, 4500]), sweep, ("x", "y", "z"))
    kept = GroundRemoval(1.7).ragged(stream)
    assert kept.splits[1] == 0 and 500 <= kept.splits[2] <= 504
    assert not GroundRemoval(1.7).ground(car + np.array([0, 0, 3])).any()


def test_ground_of_a_real_frame(data_root):
    files = sorted((data_root / "fusion" / "kitti_frame").rglob("*.bin"))
    if not files:
        pytest.skip("no sweep under fusion/kitti_frame")
    points = np.fromfile(files[0], np.float32).reshape(-1, 4)
    removal = GroundRemoval(1.73)
    taken = removal.ground(points)
    assert 0.2 < taken.mean() < 0.8
    assert np.median(points[taken & (np.abs(points[:, 0]) < 10), 2]) == pytest.approx(-1.73, abs=0.15)
    made = VoxelGrid(0.2)(points)
    assert made.counts.sum() == len(points) and len(made.points) < len(points) / 2
