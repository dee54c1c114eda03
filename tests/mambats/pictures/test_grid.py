import numpy as np
import pytest

pytest.importorskip("matplotlib")

from mambats.pictures import plot_grid


def picture(path, marks=(), **changes):
    from PIL import Image

    grid = np.full((40, 20), 0.5)
    for mark in marks:
        grid[mark] = 1.0
    plot_grid(grid, (-10.0, 30.0), (-10.0, 10.0), path, **changes)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_ahead_is_up_and_left_is_left(tmp_path):
    plain = picture(tmp_path / "folder" / "plain.png")
    middle = [1 + np.mean(where) for where in (plain != 255).any(-1).nonzero()]
    for mark, above, right in (((35, 2), True, True), ((5, 2), False, True), ((35, 17), True, False)):
        rows, columns = (picture(tmp_path / "grid.png", [mark]) != plain).any(-1).nonzero()
        assert (rows.mean() < middle[0]) == above and (columns.mean() > middle[1] - 60) == right


def test_a_corridor_and_bodies_add_to_the_picture(tmp_path):
    plain = picture(tmp_path / "a.png", title="nothing")
    square = np.array([[[2.0, 2.0], [4.0, 2.0], [4.0, 4.0], [2.0, 4.0]]])
    for k, corridor in enumerate([(0.0, 1.0, 20.0, 2.0), (0.05, 1.0, 20.0, 2.0)]):
        made = picture(tmp_path / f"{k}.png", title="nothing", boxes=square, corridor=corridor)
        assert made.shape == plain.shape and (made != plain).any(-1).mean() > 0.01
    none = picture(tmp_path / "none.png", title="nothing", corridor=(0.0, 2.0, 0.0, 2.0))
    assert (none == plain).all()


def test_other_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"need \(X, Y\)"):
        plot_grid(np.zeros(3), (0.0, 1.0), (0.0, 1.0), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"boxes \(1, 3, 2\)"):
        plot_grid(np.zeros((3, 3)), (0.0, 1.0), (0.0, 1.0), tmp_path / "a.png", boxes=np.zeros((1, 3, 2)))
