import numpy as np
import pytest

from mambats.series import FrameTree, Rigid


def random_edge(random, parent, child):
    quaternion = random.normal(size=4)
    return Rigid(parent, child, tuple(random.normal(size=3)), tuple(quaternion / np.linalg.norm(quaternion)))


def test_paths_up_and_down_compose():
    random = np.random.default_rng(0)
    left, right = random_edge(random, "base", "lidar"), random_edge(random, "base", "camera")
    tree = FrameTree((right, left))
    np.testing.assert_allclose(tree.transform("base", "lidar"), left.matrix)
    np.testing.assert_allclose(tree.transform("camera", "lidar"), np.linalg.inv(right.matrix) @ left.matrix)
    np.testing.assert_allclose(
        tree.transform("camera", "lidar") @ tree.transform("lidar", "camera"), np.eye(4), atol=1e-12
    )


def test_a_matrix_goes_in_and_comes_out():
    edge = random_edge(np.random.default_rng(1), "a", "b")
    np.testing.assert_allclose(Rigid.from_matrix("a", "b", edge.matrix).matrix, edge.matrix, atol=1e-12)
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    with pytest.raises(ValueError, match="not a rotation"):
        Rigid.from_matrix("a", "b", mirror)


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ((("a", "b"), ("c", "b")), "two parents"),
        ((("a", "b"), ("b", "c"), ("c", "a")), "loop: b -> a -> c -> b"),
    ],
)
def test_what_is_no_tree_is_refused(edges, said):
    with pytest.raises(ValueError, match=said):
        FrameTree(tuple(Rigid(*edge) for edge in edges))


def test_missing_edges_are_named():
    tree = FrameTree((Rigid("base", "lidar"), Rigid("rig", "camera")))
    with pytest.raises(ValueError, match="add one between 'base' and 'rig'"):
        tree.transform("camera", "lidar")
    with pytest.raises(ValueError, match="no frame 'imu', frames are base, lidar, rig, camera"):
        tree.transform("imu", "lidar")


@pytest.mark.parametrize(
    ("given", "said"),
    [({"quaternion": (0.0, 0.0, 0.0, 1.1)}, "length 1.1"), ({"translation": (0.0, np.nan, 0.0)}, "not all finite")],
)
def test_bad_numbers_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        Rigid("a", "b", **given)
