import math
from itertools import pairwise

import numpy as np
import pytest
import roma
import torch

from mambats.odometry.metrics import (
    ATE,
    RPE,
    Drift,
    KittiSegments,
    RoninATE,
    RoninRTE,
    Trajectory,
    pairs_apart,
)
from tests.mambats.odometry.runs import DEGREE, SECOND, along, moved, wavering, winding

# What evo 1.38.1 prints for the runs of runs.py written as TUM files (APE; RPE of all pairs from the reference).
EVO_APE = {
    ("none", "translation"): 20.90969267955478,
    ("none", "rotation"): 2.349277160180438,
    ("first", "translation"): 0.3278948717084166,
    ("first", "rotation"): 0.037906910290638876,
    ("se3", "translation"): 0.10605008923400447,
    ("se3", "rotation"): 0.03380421940822032,
    ("sim3", "translation"): 0.10560118396040175,
    ("sim3", "rotation"): 0.03380421940822032,
}
EVO_RPE = {
    (1.0, "s", "translation"): 0.2084950331545298,  # ten frames
    (1.0, "s", "rotation"): 0.039419816472776176,
    (5.0, "m", "translation"): 0.23353230826886998,
    (5.0, "m", "rotation"): 0.04190694824946274,
}


def value(metric, estimate, truth):
    metric.update(estimate, truth)
    return metric.compute()


@pytest.mark.parametrize("settings", EVO_APE)
def test_ate_is_evos(settings):
    assert value(ATE(*settings), moved(wavering(winding())), winding()).item() == pytest.approx(EVO_APE[settings])


@pytest.mark.parametrize("settings", EVO_RPE)
def test_rpe_is_evos(settings):
    assert value(RPE(*settings), moved(wavering(winding())), winding()).item() == pytest.approx(EVO_RPE[settings])


def test_rpe_of_positions_needs_no_rotation_and_a_shift_is_nothing():
    truth = winding()
    slower = along(truth.position * 0.9 + 7.0)
    pairs = pairs_apart(truth, 1.0)
    moves = torch.linalg.vector_norm(truth.position[pairs[1]] - truth.position[pairs[0]], dim=-1)
    found = value(RPE(1.0, relation="position"), slower, truth)
    assert found.item() == pytest.approx(0.1 * moves.square().mean().sqrt().item())
    with pytest.raises(ValueError, match="positions only"):
        value(RPE(1.0), slower, truth)


def test_pairs_skip_holes_in_the_clock():
    truth = winding(60).rows(torch.tensor([*range(20), *range(40, 60)]))
    first, second = pairs_apart(truth, 1.0)
    elapsed = (truth.stamps[second] - truth.stamps[first]).double() / SECOND
    assert len(first) == 21 and ((elapsed - 1).abs() <= 0.1 + 1e-9).all()  # 1.0 s has a partner at 1.9 s
    with pytest.raises(ValueError, match="100 s apart"):
        pairs_apart(truth, 100.0)
    with pytest.raises(ValueError, match="100 m apart"):
        pairs_apart(truth, 100.0, "m")
    with pytest.raises(ValueError, match="needed a positive number"):
        pairs_apart(truth, 0.0)


def test_drift_is_the_end_error_over_the_length():
    straight = torch.arange(101.0)[:, None] * torch.tensor([[1.0, 0.0, 0.0]])
    estimate = along(straight * torch.tensor([1.02, 1, 1]) + 50.0)
    assert value(Drift(), estimate, along(straight)).item() == pytest.approx(0.02)
    with pytest.raises(ValueError, match="does not move"):
        value(Drift(), along(straight), along(straight * 0))


def ronin_reference(est, gt, minute):
    """The two scores as the paper's text has them, in numpy, for positions at the same rows."""
    ate = np.sqrt(((est - gt) ** 2).mean())
    step = minute if len(est) > minute else len(est) - 1
    drift = (est[step:] - est[:-step]) - (gt[step:] - gt[:-step])
    return ate, np.sqrt((drift**2).mean()) * (1 if len(est) > minute else minute / len(est))


@pytest.mark.parametrize("rows", [130, 60, 61, 25, 2])
def test_ronin_scores(rows):
    gt = torch.randn(rows, 3, dtype=torch.float64).cumsum(0)
    est = gt + 0.1 * torch.randn(rows, 3, dtype=torch.float64).cumsum(0)
    est = est - est[:1] + gt[:1]
    ate, rte = ronin_reference(est[:, :2].numpy(), gt[:, :2].numpy(), 60)
    runs = along(est, rate=1.0), along(gt, rate=1.0)
    assert value(RoninATE(), *runs).item() == pytest.approx(ate)
    assert value(RoninRTE(), *runs).item() == pytest.approx(rte)


def test_ronins_ate_is_smaller_by_the_root_of_two():
    gt = torch.cumsum(torch.rand(200, 3, dtype=torch.float64), 0) * torch.tensor([1.0, 1.0, 0.0])
    est = gt + torch.sin(torch.arange(200.0))[:, None] * torch.tensor([1.0, -1.0, 0.0])
    usual, theirs = value(ATE("none"), along(est), along(gt)), value(RoninATE(), along(est), along(gt))
    assert (usual / theirs).item() == pytest.approx(math.sqrt(2))


def kitti_reference(est, gt, lengths):
    """Segment errors with 4x4 matrices and loops, as the paper describes them."""
    poses = [
        [
            roma.Rigid(roma.unitquat_to_rotmat(q), p).to_homogeneous().numpy()
            for p, q in zip(r.position, r.rotation, strict=True)
        ]
        for r in (est, gt)
    ]
    distance = [0.0]
    for a, b in pairwise(poses[1]):
        distance.append(distance[-1] + float(np.linalg.norm(b[:3, 3] - a[:3, 3])))
    found = []
    for first in range(0, len(distance), 10):
        for length in lengths:
            last = next((i for i in range(first, len(distance)) if distance[i] > distance[first] + length), None)
            if last is not None:
                moves = [np.linalg.inv(p[first]) @ p[last] for p in poses]
                error = np.linalg.inv(moves[0]) @ moves[1]
                angle = math.acos(max(-1.0, min(1.0, (np.trace(error[:3, :3]) - 1) / 2)))
                found.append((np.linalg.norm(error[:3, 3]) / length, angle / length))
    return np.mean(found, 0)


def test_kitti_segments():
    truth = winding(120)
    estimate = moved(wavering(truth, 3.0))
    translation, rotation = kitti_reference(estimate, truth, (10, 20, 45))
    found = value(KittiSegments((10, 20, 45)), estimate, truth)
    assert found["translation_percent"].item() == pytest.approx(100 * translation)
    assert found["rotation_deg_per_m"].item() == pytest.approx(rotation / DEGREE)
    with pytest.raises(ValueError, match=r"has \d+\.\d m: no segment of 100 m fits"):
        value(KittiSegments(), estimate, truth)
    with pytest.raises(ValueError, match="metres above 0"):
        KittiSegments((0.0,))


def test_several_runs_are_averaged_and_kitti_pools_segments():
    truth = winding(120)
    ate, kitti = ATE("none"), KittiSegments((10,))
    for size in (1.0, 3.0):
        ate.update(wavering(truth, size), truth)
        kitti.update(wavering(truth, size), truth)
    one = value(ATE("none"), wavering(truth), truth)
    assert ate.compute().item() == pytest.approx(2 * one.item())
    both = [value(KittiSegments((10,)), wavering(truth, s), truth)["translation_percent"] for s in (1.0, 3.0)]
    assert kitti.compute()["translation_percent"].item() == pytest.approx((sum(both) / 2).item())
    assert ATE().compute().isnan()


@pytest.mark.parametrize("metric", [ATE("none"), RPE(0.5), Drift("none"), RoninATE(), RoninRTE(), KittiSegments((5,))])
def test_the_truth_itself_scores_nothing(metric):
    found = value(metric, winding(), winding())
    worst = max(float(v) for v in found.values()) if isinstance(found, dict) else float(found)
    assert worst < 1e-7


def test_an_estimate_on_another_clock_is_brought_to_the_truth():
    dense = winding(600, rate=100.0)
    sparse = dense.rows(torch.arange(3, 590, 7))
    assert value(ATE("none"), sparse, dense) < 2e-3
    assert value(ATE("none", "rotation"), sparse, dense) < 2e-3


def test_one_pose():
    single = winding(1)
    assert value(ATE("none"), single, single) == 0
    for metric in (ATE("se3"), ATE("yaw"), RPE(), Drift(), RoninRTE(), KittiSegments()):
        with pytest.raises(ValueError):
            value(metric, single, single)


def test_real_poses_of_kitti(data_root):
    """Sequence 07: a scale error of 1 % is a translation error of at most 1 % (segments are shorter than paths)."""
    files = sorted((data_root / "fusion" / "kitti_odometry").rglob("07*.txt"))
    if not files:
        pytest.skip("kitti_odometry/07.txt is not in the data folder")
    rows = torch.from_numpy(np.loadtxt(files[0])).view(-1, 3, 4)
    stamps = torch.arange(len(rows)) * (SECOND // 10)
    truth = Trajectory(stamps, rows[:, :, 3], roma.rotmat_to_unitquat(roma.special_procrustes(rows[:, :, :3])))
    found = value(KittiSegments(), Trajectory(stamps, truth.position * 1.01, truth.rotation), truth)
    assert 0.3 < found["translation_percent"] <= 1.0 and found["rotation_deg_per_m"] < 1e-6
