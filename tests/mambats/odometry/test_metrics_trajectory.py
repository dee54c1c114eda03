import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats.odometry.metrics import Trajectory, associate, turn_angle
from tests.mambats.odometry.runs import SECOND, along, winding


def turning(rate):
    """Half a turn a second about a tilted axis, moving straight."""
    t = torch.arange(int(3 * rate) + 1, dtype=torch.float64) / rate
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    rotation = roma.rotvec_to_unitquat(3.1 * t[:, None] * axis)
    return Trajectory((t * SECOND).round().long(), t[:, None] * axis, rotation)


def test_between_poses_a_steady_motion_is_met_exactly():
    sparse, dense = turning(2), turning(50)
    found = sparse.at(dense.stamps)
    torch.testing.assert_close(found.position, dense.position, rtol=0, atol=1e-12)
    assert turn_angle(found.rotation, dense.rotation).max() < 1e-12


def test_the_sign_of_a_quaternion_means_nothing():
    run = turning(4)
    flipped = run.rotation * torch.tensor([1.0, -1.0])[torch.arange(len(run)) % 2][:, None]
    found = Trajectory(run.stamps, run.position, flipped).at(turning(50).stamps)
    assert turn_angle(found.rotation, turning(50).rotation).max() < 1e-12


@given(st.integers(2, 20), st.integers(0, 1000))
def test_at_its_own_stamps_a_run_is_itself(rows, seed):
    torch.manual_seed(seed)
    stamps = torch.randint(1, SECOND, (rows,)).cumsum(0)
    run = Trajectory(stamps, torch.randn(rows, 3), roma.random_unitquat(rows, dtype=torch.float64))
    found = run.at(stamps)
    torch.testing.assert_close(found.position, run.position, rtol=0, atol=1e-12)
    assert turn_angle(found.rotation, run.rotation).max() < 1e-7


def test_distance_by_hand():
    assert along(torch.tensor([[0.0, 0, 0], [3, 4, 0], [3, 4, 12]])).distance.tolist() == [0, 5, 17]


def test_truth_beyond_the_estimate_and_over_outages_is_left_out():
    truth = along(torch.arange(100.0)[:, None].expand(100, 3))
    keep = torch.tensor([*range(10, 40), *range(60, 80)])
    estimate = truth.rows(keep)
    every, both = associate(estimate, truth)
    assert torch.equal(every.stamps, both.stamps) and len(both) == 70
    torch.testing.assert_close(every.position, both.position)
    _, kept = associate(estimate, truth, max_gap=0.5)
    assert torch.equal(kept.stamps, estimate.stamps)


def test_one_estimate_at_a_true_moment_is_enough():
    truth = winding(5)
    estimate, kept = associate(truth.rows(torch.tensor([2])), truth)
    assert len(kept) == 1 and torch.equal(estimate.position, truth.position[2:3])


def test_no_overlap_says_both_spans():
    truth = winding(10)
    late = Trajectory(truth.stamps + 10 * SECOND, truth.position)
    with pytest.raises(
        ValueError, match="the estimate covers 10000000000 to 10900000000 ns, the truth 0 to 900000000 ns"
    ):
        associate(late, truth)
    between = Trajectory(truth.stamps[:2] * 5 + 1, truth.position[:2])
    with pytest.raises(ValueError, match="at most 0.01 s apart"):
        associate(between, truth, max_gap=0.01)
    with pytest.raises(ValueError, match="nothing is extrapolated"):
        truth.at(late.stamps)


def test_bad_poses_are_refused_by_row():
    run = winding(6)
    holed = run.position.clone()
    holed[3, 1] = torch.nan
    for words, parts in {
        "position row 3": (run.stamps, holed, run.rotation),
        "rotation row 0 has length 2": (run.stamps, run.position, 2 * run.rotation),
        "rotation has shape": (run.stamps, run.position, run.rotation[:5]),
        "do not rise at row 1": (run.stamps.flip(0), run.position, None),
        "do not rise at row 2": (torch.tensor([0, 1, 1, 2, 3, 4]), run.position, None),
        "int64": (run.stamps.double(), run.position, None),
        "T >= 1": (run.stamps[:0], run.position[:0], None),
        "position has shape": (run.stamps, run.position[:, :2], None),
    }.items():
        with pytest.raises(ValueError, match=words):
            Trajectory(*parts)


def test_rounded_quaternions_of_a_file_are_rotations_and_float32_is_widened():
    run = winding(6)
    rough = Trajectory(run.stamps, run.position.float(), (run.rotation * 1e4).round() / 1e4)
    assert rough.position.dtype == torch.float64
    torch.testing.assert_close(rough.rotation.norm(dim=-1), torch.ones(6, dtype=torch.float64))
