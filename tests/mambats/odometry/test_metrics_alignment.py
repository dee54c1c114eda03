import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats.odometry.metrics import ATE, RPE, fit_alignment, turn_angle
from tests.mambats.odometry.runs import along, moved, wavering, winding

FREE = {
    "first": {"turn": (0.3, -1.2, 2.0)},
    "yaw": {"turn": (0.0, 0.0, 2.5)},
    "se3": {"turn": (0.3, -1.2, 2.0)},
    "sim3": {"turn": (0.3, -1.2, 2.0), "scale": 0.3},
}


@pytest.mark.parametrize("kind", FREE)
def test_a_planted_motion_is_found_and_undone(kind):
    truth = winding()
    planted = moved(truth, **FREE[kind])
    found = fit_alignment(planted, truth, kind)
    back = found.apply(planted)
    torch.testing.assert_close(back.position, truth.position, rtol=0, atol=1e-10)
    assert turn_angle(truth.rotation, back.rotation).max() < 1e-7
    assert float(found.scale) == pytest.approx(1 / FREE[kind].get("scale", 1.0))


def test_each_alignment_leaves_what_it_may_not_know():
    truth = winding()
    tilted, larger = moved(truth, turn=(0.2, 0.0, 0.0)), moved(truth, turn=(0.0, 0.0, 1.0), scale=1.1)
    for kind, run in (("none", tilted), ("yaw", tilted), ("se3", larger), ("yaw", larger), ("first", larger)):
        metric = ATE(kind)
        metric.update(run, truth)
        assert metric.compute() > 0.1, kind


@pytest.mark.parametrize("kind", ["yaw", "se3", "sim3"])
def test_no_neighbour_is_better_than_the_closed_form(kind):
    """Oracle: small motions of every free kind after the fit only raise the sum of squares."""
    truth = winding()
    fitted = fit_alignment(moved(wavering(truth, 5.0)), truth, kind).apply(moved(wavering(truth, 5.0)))
    least = (fitted.position - truth.position).square().sum()
    centre = fitted.position.mean(0)
    for axis in range(3):
        for size in (-1e-3, 1e-3):
            turn = [0.0, 0.0, 0.0]
            turn[axis] = size
            if kind != "yaw" or axis == 2:
                about = moved(along(fitted.position - centre), turn, (0, 0, 0)).position + centre
                assert (about - truth.position).square().sum() > least
            shift = torch.zeros(3, dtype=torch.float64)
            shift[axis] = size
            assert (fitted.position + shift - truth.position).square().sum() > least
            if kind == "sim3":
                scaled = (fitted.position - centre) * (1 + size) + centre
                assert (scaled - truth.position).square().sum() > least


def test_a_mirrored_path_is_met_by_a_rotation_never_by_a_mirror():
    truth = winding()
    mirrored = along(truth.position * torch.tensor([1.0, 1.0, -1.0]))
    found = fit_alignment(mirrored, truth, "se3")
    assert torch.linalg.det(found.rotation).item() == pytest.approx(1.0)


@given(st.integers(0, 10_000), st.sampled_from(["yaw", "se3", "sim3"]))
def test_what_is_free_does_not_change_the_score(seed, kind):
    torch.manual_seed(seed)
    truth = winding(20)
    turn = (torch.randn(3) * torch.tensor([kind != "yaw", kind != "yaw", True])).tolist()
    motion = {"turn": turn, "shift": torch.randn(3).tolist(), "scale": 2.5 if kind == "sim3" else 1.0}
    for relation in ("translation", "rotation"):
        plain, other = ATE(kind, relation), ATE(kind, relation)
        plain.update(wavering(truth), truth)
        other.update(moved(wavering(truth), **motion), truth)
        assert other.compute().item() == pytest.approx(plain.compute().item(), rel=1e-6)


@given(st.integers(0, 10_000))
def test_relative_errors_do_not_depend_on_either_frame(seed):
    torch.manual_seed(seed)
    truth = winding(30)
    frames = [{"turn": torch.randn(3).tolist(), "shift": torch.randn(3).tolist()} for _ in range(2)]
    for relation in ("translation", "rotation"):
        plain, other = RPE(1.0, relation=relation), RPE(1.0, relation=relation)
        plain.update(wavering(truth), truth)
        other.update(moved(wavering(truth), **frames[0]), moved(truth, **frames[1]))
        assert other.compute().item() == pytest.approx(plain.compute().item(), rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e3, 5e6])
def test_points_that_leave_the_motion_open_are_refused(offset):
    still, line = torch.full((9, 3), offset), torch.arange(9.0)[:, None] * torch.tensor([[3.0, 4.0, 0.0]]) + offset
    up = torch.arange(9.0)[:, None] * torch.tensor([[0.0, 0.0, 1.0]]) + offset
    for positions, kind, words in (
        (still, "se3", "in one place"),
        (still[:1], "se3", "in one place"),
        (line, "sim3", "on a line"),
        (still, "yaw", "sideways"),
        (up, "yaw", "sideways"),
    ):
        with pytest.raises(ValueError, match=words):
            fit_alignment(along(positions), along(positions), kind)
    fit_alignment(along(line), along(line), "yaw")  # a line has a yaw


def test_a_metre_of_motion_far_from_the_origin_is_motion():
    truth = winding()
    far = moved(truth, shift=(5e6, -3e6, 100.0))
    metric = ATE("se3")
    metric.update(far, truth)
    assert metric.compute() < 1e-6


def test_bad_alignments_are_refused():
    truth = winding()
    with pytest.raises(ValueError, match="choose one of none, first, yaw, se3, sim3"):
        ATE("best")
    with pytest.raises(ValueError, match="choose one of"):
        fit_alignment(truth, truth, "best")
    with pytest.raises(ValueError, match="positions only"):
        fit_alignment(along(truth.position), truth, "first")
    with pytest.raises(ValueError, match="associate them first"):
        fit_alignment(winding(30), truth, "se3")
