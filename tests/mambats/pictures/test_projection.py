import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mambats.pictures import motion_between, project
from mambats.series import Stream

LENS = np.array([[100.0, 0.0, 64.0], [0.0, 110.0, 48.0], [0.0, 0.0, 1.0]])
POSE = ("px", "py", "pz", "qx", "qy", "qz", "qw")


def matrix(turn, shift):
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = turn.as_matrix(), shift
    return made


def test_a_point_straight_ahead_is_at_the_principal_point():
    seen = project(np.array([[0.0, 0.0, 5.0], [1.0, 0.0, 5.0], [0.0, 1.0, 5.0]]), np.eye(4), LENS)
    assert seen.pixels.tolist() == [[64, 48], [84, 48], [64, 70]]
    assert seen.depth.tolist() == [5, 5, 5]


def test_points_behind_or_too_near_are_dropped():
    points = np.array([[0, 0, -5.0], [0, 0, 0.0], [0, 0, 0.05], [0, 0, 0.1], [0, 0, 3.0]])
    assert project(points, np.eye(4), LENS).rows.tolist() == [3, 4]
    assert project(points, np.eye(4), LENS, nearest=1.0).rows.tolist() == [4]


def test_points_outside_of_the_picture_are_dropped():
    pixels = np.array([[-0.4, 10], [-0.6, 10], [127.4, 10], [127.5, 10], [5, -1], [5, 95.4], [5, 96]])
    points = np.column_stack([(pixels - LENS[:2, 2]) / (100, 110), np.ones(len(pixels))]) * 7
    assert project(points, np.eye(4), LENS, size=(128, 96)).rows.tolist() == [0, 2, 5]


@given(st.integers(0, 999))
def test_pixels_lie_on_the_rays(seed):
    rng = np.random.default_rng(seed)
    transform = matrix(Rotation.random(random_state=seed), rng.normal(size=3))
    points = rng.normal(size=(50, 3)) * 5
    seen = project(points, transform, LENS)
    rays = np.column_stack([seen.pixels, np.ones(len(seen.rows))]) @ np.linalg.inv(LENS).T * seen.depth[:, None]
    back = (rays - transform[:3, 3]) @ transform[:3, :3]
    np.testing.assert_allclose(back, points[seen.rows], atol=1e-9)


def test_distortion_is_opencv_s():
    # By hand: x = 0.1, y = -0.2, r2 = 0.05, radial = 1 - 0.3 * 0.05 + 0.1 * 0.0025 + 0.02 * 0.000125.
    seen = project(np.array([[0.2, -0.4, 2.0]]), np.eye(4), LENS, distortion=(-0.3, 0.1, 0.01, -0.02, 0.02))
    radial = 1 - 0.015 + 0.00025 + 0.0000025
    x = 0.1 * radial + 2 * 0.01 * 0.1 * -0.2 - 0.02 * (0.05 + 2 * 0.01)
    y = -0.2 * radial + 0.01 * (0.05 + 2 * 0.04) + 2 * -0.02 * 0.1 * -0.2
    np.testing.assert_allclose(seen.pixels, [[64 + 100 * x, 48 + 110 * y]], rtol=1e-12)


def test_far_points_do_not_fold_back_into_the_picture():
    # k1 below 0 pulls points at 70 degrees back to the middle: they are no part of the picture.
    points = np.array([[2.7, 0.0, 1.0], [0.1, 0.0, 1.0]])
    assert project(points, np.eye(4), LENS, size=(128, 96), distortion=(-0.137, 0, 0, 0)).rows.tolist() == [1]


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"points are \(3, 4\), transform \(4, 4\)"):
        project(np.zeros((3, 4)), np.eye(4), LENS)
    with pytest.raises(ValueError, match="distortion has 2 coefficients"):
        project(np.zeros((3, 3)), np.eye(4), LENS, distortion=(0.1, 0.2))


def drive():
    """Two metres forward and a quarter turn to the left in a second."""
    turns = Rotation.from_euler("z", [[0.0], [np.pi / 2], [np.pi / 2]]).as_quat()
    values = np.hstack([[[0, 0, 0], [2, 0, 0], [2, 0, 0]], turns])
    return Stream(np.array([0, 10**9, 2 * 10**9]), values, POSE)


def test_motion_moves_a_still_point_with_the_world():
    ahead = np.array([5.0, 0, 0, 1])
    np.testing.assert_allclose((motion_between(drive(), 0, 10**9) @ ahead)[:3], (0, -3, 0), atol=1e-12)
    half = motion_between(drive(), 0, 5 * 10**8) @ ahead
    np.testing.assert_allclose(half[:3], Rotation.from_euler("z", -np.pi / 4).apply((4, 0, 0)), atol=1e-12)
    there, back = motion_between(drive(), 0, 10**9), motion_between(drive(), 10**9, 0)
    np.testing.assert_allclose(there @ back, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(motion_between(drive(), 10**9, 2 * 10**9), np.eye(4), atol=1e-12)


def test_a_pose_that_does_not_reach_is_named():
    with pytest.raises(ValueError, match="pose reaches from 0 to 2000000000 ns, asked for -1 ns"):
        motion_between(drive(), -1, 0)
    lone = Stream(np.array([5]), drive().values[:1], POSE)
    np.testing.assert_allclose(motion_between(lone, 5, 5), np.eye(4))
    with pytest.raises(ValueError, match="pose has no qw"):
        motion_between(Stream(np.array([5]), np.zeros((1, 6)), POSE[:6]), 5, 5)
