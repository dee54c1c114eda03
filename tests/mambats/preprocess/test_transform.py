"""Rigid motions and changes of frame: group laws, scipy's rotations, and a body whose motion is known."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from mambats.preprocess.transform import (
    ConventionError,
    IntoFrame,
    MoveImu,
    PoseTrack,
    check_gravity,
    exp_se3,
    from_poses,
    interpolate,
    invert,
    log_se3,
    move_points,
    move_pose,
    rep_findings,
    to_poses,
    twist_points,
)
from mambats.preprocess.transform.imu import lever_arm
from mambats.preprocess.transform.rigid import steady_points
from mambats.series import FrameTree, RaggedStream, Rigid, Stream

RNG = np.random.default_rng(0)
TWISTS = np.r_[RNG.standard_normal((20, 6)), 1e-4 * RNG.standard_normal((20, 6)), np.zeros((1, 6))]
HALF = np.array([[np.pi - 1e-7, 0, 0, 1.0, 2.0, 3.0], [0, 0.2236, 0, 1, 2, 3], [0.2, 0.1, 0, 1, 2, 3]])


def matrix_of(twist):
    x, y, z, a, b, c = twist
    return expm(np.array([[0, -z, y, a], [z, 0, -x, b], [-y, x, 0, c], [0, 0, 0, 0]]))


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_exponential_is_the_matrix_exponential_and_the_logarithm_undoes_it(make):
    twists = np.r_[TWISTS, HALF]
    made = exp_se3(make(twists))
    assert type(made) is type(make(twists))
    np.testing.assert_allclose(made, [matrix_of(t) for t in twists], atol=1e-12)
    np.testing.assert_allclose(log_se3(made), twists, atol=2e-7)
    np.testing.assert_allclose(np.asarray(log_se3(made))[:-3], twists[:-3], atol=1e-12)
    np.testing.assert_allclose(
        np.asarray(invert(made)) @ np.asarray(made), np.broadcast_to(np.eye(4), (44, 4, 4)), atol=1e-12
    )


def test_interpolation_meets_both_ends_and_halves_compose():
    first, second = exp_se3(TWISTS), exp_se3(TWISTS[::-1].copy())
    np.testing.assert_allclose(interpolate(first, second, 0.0), first, atol=1e-12)
    np.testing.assert_allclose(interpolate(first, second, np.ones(41)), second, atol=1e-12)
    half = interpolate(first, second, 0.5)
    np.testing.assert_allclose(half @ invert(first) @ half, second, atol=1e-12)


def test_points_move_by_their_twists():
    points, times = RNG.standard_normal((41, 7, 3)), RNG.uniform(-1, 1, (41, 7))
    wanted = np.stack(
        [
            [expm_point(p, t * w) for p, t in zip(*pair, strict=True)]
            for *pair, w in zip(points, times, TWISTS, strict=True)
        ]
    )
    np.testing.assert_allclose(twist_points(points, times[..., None] * TWISTS[:, None]), wanted, atol=1e-12)
    np.testing.assert_allclose(steady_points(points, TWISTS, times), wanted, atol=1e-12)
    once = move_points(exp_se3(TWISTS), points)
    np.testing.assert_allclose(once, steady_points(points, TWISTS, np.ones((41, 7))), atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_motions_have_gradients_also_at_rest(scale):
    twists = torch.from_numpy(scale * RNG.standard_normal((2, 6))).requires_grad_()
    points, times = torch.from_numpy(RNG.standard_normal((2, 4, 3))), torch.from_numpy(RNG.uniform(-1, 1, (2, 4)))
    assert torch.autograd.gradcheck(exp_se3, twists)
    assert torch.autograd.gradcheck(lambda t: log_se3(exp_se3(t)), twists)
    assert torch.autograd.gradcheck(lambda t: steady_points(points, t, times), twists)
    with torch.no_grad():
        quick = steady_points(points, twists, times)
    torch.testing.assert_close(steady_points(points, twists, times).detach(), quick, rtol=0, atol=1e-13)


def expm_point(point, twist):
    return (matrix_of(twist) @ np.r_[point, 1.0])[:3]


def test_poses_are_scipys():
    poses = np.c_[RNG.standard_normal((9, 3)), Rotation.random(9, random_state=0).as_quat()]
    motions = from_poses(poses)
    np.testing.assert_allclose(motions[:, :3, :3], Rotation.from_quat(poses[:, 3:]).as_matrix(), atol=1e-14)
    back = to_poses(motions)
    np.testing.assert_allclose(from_poses(back), motions, atol=1e-14)
    with pytest.raises(ValueError, match=r"pose has shape \(9, 6\), needed \(..., 7\)"):
        from_poses(poses[:, :6])


def spinning(rate=1000.0, count=2001):
    """A body that turns about a wandering axis: rates, their derivative, and forces anywhere on it."""
    time = np.arange(count) / rate
    rates = np.c_[np.sin(time), 2 * np.cos(0.7 * time), 1 + 0.5 * np.sin(2 * time)]
    change = np.c_[np.cos(time), -1.4 * np.sin(0.7 * time), np.cos(2 * time)]
    base = np.c_[np.sin(3 * time), np.cos(time), 9.81 + 0 * time]
    return time, rates, change, base


MOUNT = Rigid("base_link", "imu", (0.4, -0.2, 0.1), tuple(Rotation.from_euler("zyx", [0.3, -0.8, 2.0]).as_quat()))
TREE = FrameTree((MOUNT, Rigid("map", "odom"), Rigid("odom", "base_link", (1.0, 2.0, 0.0))))


def imu_stream():
    time, rates, change, base = spinning()
    arm, turn = np.array(MOUNT.translation), MOUNT.matrix[:3, :3]
    there = base + np.cross(change, arm) + np.cross(rates, np.cross(rates, arm))
    values = np.c_[rates @ turn, there @ turn]
    return Stream((time * 1e9).round().astype(np.int64), values, ("wx", "wy", "wz", "ax", "ay", "az"), frame="imu")


def test_an_imu_is_moved_to_the_origin():
    _time, rates, change, base = spinning()
    moved = IntoFrame(TREE, "base_link").stream(imu_stream())
    assert moved.frame == "base_link"
    np.testing.assert_allclose(moved.values[:, :3], rates, atol=1e-12)
    np.testing.assert_allclose(moved.values[1:, 3:], base[1:], atol=2e-3)  # half a millisecond of jerk times 0.4 m
    exact = lever_arm(rates, imu_stream().values[:, 3:] @ MOUNT.matrix[:3, :3].T, np.array(MOUNT.translation), change)
    np.testing.assert_allclose(exact, base, atol=1e-12)
    rough = IntoFrame(TREE, "base_link", angular="none").stream(imu_stream())
    assert np.abs(rough.values[1:, 3:] - base[1:]).max() > 0.1


def test_an_imu_is_moved_in_chunks_as_a_whole():
    values, mover = imu_stream().values[:50].copy(), MoveImu(MOUNT.matrix, 1000.0)
    values[10, 1] = np.nan
    state, made = mover.start(), []
    for part in (values[:0], values[:7], values[7:8], values[8:]):
        chunk, state = mover.transform(part, state)
        made.append(chunk)
    whole = mover(values)
    np.testing.assert_allclose(np.concatenate(made), whole, atol=1e-12)
    assert np.isnan(whole[10]).all() and np.isfinite(np.delete(whole, 10, 0)).all()


def test_covariances_of_a_moved_imu_are_those_of_draws():
    mover, row = MoveImu(MOUNT.matrix, angular="none"), imu_stream().values[700]
    factor = 0.01 * np.tril(np.random.default_rng(0).standard_normal((6, 6)))
    drawn = row + np.random.default_rng(1).standard_normal((100_000, 6)) @ factor.T
    wanted = np.cov(mover(drawn).T)
    made = mover.covariance(row, factor @ factor.T)
    np.testing.assert_allclose(made, wanted, atol=0.02 * np.abs(wanted).max())
    stream = imu_stream()
    covered = Stream(stream.stamps, stream.values, stream.channels, frame="imu", covariance=factor @ factor.T)
    np.testing.assert_allclose(IntoFrame(TREE, "base_link", "none").stream(covered).covariance[700], made, atol=1e-15)


def test_other_vectors_and_points_are_moved():
    turn, arm = MOUNT.matrix[:3, :3], MOUNT.matrix[:3, 3]
    stamps, values = np.arange(4), RNG.standard_normal((4, 6))
    spread = np.diag([1.0, 2, 3])
    field = Stream(stamps, values[:, :3], ("mx", "my", "mz"), frame="imu", covariance=spread)
    moved = IntoFrame(TREE, "base_link").stream(field)
    np.testing.assert_allclose(moved.values, values[:, :3] @ turn.T, atol=1e-14)
    np.testing.assert_allclose(moved.covariance, turn @ spread @ turn.T, atol=1e-14)
    speed = Stream(stamps, values, ("wx", "wy", "wz", "vx", "vy", "vz"), frame="imu")
    wanted = values[:, 3:] @ turn.T - np.cross(values[:, :3] @ turn.T, arm)
    np.testing.assert_allclose(IntoFrame(TREE, "base_link").stream(speed).values[:, 3:], wanted, atol=1e-14)
    with pytest.raises(ValueError, match="'vx' is measured 0.458 m off 'base_link': its lever arm needs"):
        IntoFrame(TREE, "base_link").stream(Stream(stamps, values[:, 3:], ("vx", "vy", "vz"), frame="imu"))
    sweep = RaggedStream(
        stamps[:2], np.array([0, 1, 4]), np.c_[values[:, :3], stamps], ("x", "y", "z", "ring"), frame="imu"
    )
    points = IntoFrame(TREE, "base_link").ragged(sweep)
    np.testing.assert_allclose(points.values[:, :3], values[:, :3] @ turn.T + arm, atol=1e-14)
    np.testing.assert_array_equal(points.values[:, 3], stamps)


def track(count=11, seed=3):
    rng = np.random.default_rng(seed)
    poses = np.c_[rng.standard_normal((count, 3)).cumsum(0), Rotation.random(count, random_state=seed).as_quat()]
    return Stream(np.arange(count) * 10**8, poses, ("px", "py", "pz", "qx", "qy", "qz", "qw"), frame="map")


def test_poses_move_with_the_mounting_and_back():
    pose = track()
    moved = move_pose(pose, MOUNT.matrix)
    np.testing.assert_allclose(from_poses(moved.values), from_poses(pose.values) @ MOUNT.matrix, atol=1e-13)
    back = move_pose(moved, np.linalg.inv(MOUNT.matrix))
    np.testing.assert_allclose(from_poses(back.values), from_poses(pose.values), atol=1e-12)


def test_the_tree_moves_poses_of_one_frame_to_another():
    pose = track()
    made = IntoFrame(TREE, "base_link").pose(pose, "imu")
    wanted = from_poses(pose.values) @ np.linalg.inv(MOUNT.matrix)
    np.testing.assert_allclose(from_poses(made.values), wanted, atol=1e-12)
    with pytest.raises(ValueError, match="a covariance of x y z w quaternions"):
        move_pose(Stream(pose.stamps, pose.values, pose.channels, covariance=np.eye(7)), MOUNT.matrix)


def test_a_track_meets_its_poses_and_refuses_what_is_outside():
    pose = track()
    made = PoseTrack(pose, MOUNT.matrix, beyond=0.01)
    wanted = from_poses(pose.values) @ MOUNT.matrix
    np.testing.assert_allclose(made.at(pose.stamps), wanted, atol=1e-12)
    between = made.at(np.array([25 * 10**7]))[0].numpy()
    np.testing.assert_allclose(between, interpolate(wanted[2], wanted[3], 0.5), atol=1e-12)
    made.at(np.array([-(10**7)]))
    with pytest.raises(ValueError, match=r"1 of 1 times are outside of the poses by up to 0.02 s, 0.01 s are allowed"):
        made.at(np.array([-2 * 10**7]))
    off = pose.values.copy()
    off[4, 3:] *= 1.1
    with pytest.raises(ValueError, match=r"quaternion of row 4 \(400000000 ns\) has length 1.1000"):
        PoseTrack(Stream(pose.stamps, off, pose.channels))
    with pytest.raises(ValueError, match="'qw' is missing"):
        PoseTrack(Stream(pose.stamps, pose.values[:, :6], pose.channels[:6]))


def moving_body(count=400):
    rng = np.random.default_rng(0)
    turns = Rotation.from_euler(
        "zyx", np.c_[np.linspace(0, 6, count), 0.6 * np.sin(np.arange(count) / 9), np.full(count, 1.2)]
    )
    forces = turns.inv().apply([0, 0, 9.81] + 0.5 * rng.standard_normal((count, 3)))
    return turns.as_quat(), forces


def test_gravity_names_the_convention_that_fits():
    turns, forces = moving_body()
    assert check_gravity(turns, forces) < 0.02
    for wrong, words in (
        (np.roll(turns, 1, axis=1), r"scalar first \(w x y z\): reorder it \(0\.\d degrees\)"),
        (turns * [-1, -1, -1, 1], "world to sensor: conjugate it"),
        (np.roll(turns * [-1, -1, -1, 1], 1, axis=1), "scalar first and world to sensor"),
        (turns[::-1], "No usual reading fits: are the clocks aligned"),
    ):
        with pytest.raises(ConventionError, match=words):
            check_gravity(wrong, forces)
    with pytest.raises(ConventionError, match=r"z down \(NED\)"):
        check_gravity(turns, -forces)
    with pytest.raises(ConventionError, match="this is g: multiply by 9.80665"):
        check_gravity(turns, forces / 9.81)
    with pytest.raises(ConventionError, match="quaternion of row 7 has length 1.1"):
        check_gravity(turns * np.where(np.arange(400) == 7, 1.1, 1)[:, None], forces)


def test_gravity_finds_the_order_of_a_real_recording(data_root):
    from scipy.io import loadmat

    files = sorted((data_root / "fusion" / "broad").rglob("*.mat"))
    if not files:
        pytest.skip("no BROAD trial under fusion/broad")
    trial = loadmat(files[0], squeeze_me=True)
    turns, forces = trial["opt_quat"], trial["imu_acc"]
    assert check_gravity(np.roll(turns, -1, axis=1), forces) < np.radians(3)
    with pytest.raises(ConventionError, match=r"scalar first \(w x y z\): reorder it"):
        check_gravity(turns, forces)


def test_trees_against_the_reps():
    assert rep_findings(TREE) == ()
    assert rep_findings(FrameTree((Rigid("odom", "map"),))) == (
        "'odom' stands above 'map': REP-105 has map > odom > base_link.",
    )
    good = Rigid("base_link", "camera_optical", (0, 0, 1.0), (-0.5, 0.5, -0.5, 0.5))
    assert rep_findings(FrameTree((good,))) == ()
    wrong = Rigid("base_link", "camera_optical")
    assert rep_findings(FrameTree((wrong,)))[0].startswith("the y axis of 'camera_optical' does not point down")


def test_points_under_one_slow_twist_move_as_the_matrix_exponential_moves_them():
    """Small angles take a series of their own, whose coefficients once were float32."""
    random = np.random.default_rng(0)
    points, times = random.normal(size=(1, 40, 3)), 0.01 * random.random((1, 40))
    turn, shift = np.array([0.2, -0.1, 1.0]), np.array([9.0, 0.5, 0.1])
    hat = np.zeros((4, 4))
    hat[:3, :3] = np.cross(turn, np.eye(3)).T
    hat[:3, 3] = shift
    moved = steady_points(torch.from_numpy(points), np.concatenate([turn, shift])[None], torch.from_numpy(times))
    for k in range(40):
        wanted = expm(hat * times[0, k]) @ np.append(points[0, k], 1)
        np.testing.assert_allclose(moved[0, k].numpy(), wanted[:3], rtol=0, atol=1e-14)
