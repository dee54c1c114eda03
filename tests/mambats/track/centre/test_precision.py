"""Average precision against examples worked out by hand."""

import torch

from mambats.track.centre import DetectionScores, Found, OverlapScores, SweepBatch
from mambats.track.centre.overlap_precision import overlaps
from mambats.track.centre.precision import average_precision, match

NAMES = ("car", "pedestrian")


def batch_of(places, labels):
    boxes = torch.zeros(1, len(places), 7)
    boxes[0, :, 0] = torch.tensor(places)
    boxes[..., 3:6] = 1.0
    return SweepBatch(torch.zeros(1, 1, 5), boxes, torch.zeros(1, len(places), 2), torch.tensor([labels]))


def found_at(places, labels, score):
    made = batch_of(places, labels)
    return Found(made.boxes, made.velocity, torch.tensor([score]), made.labels, torch.ones(1, len(places), 9))


def test_a_perfect_detector_has_one_and_a_blind_one_zero():
    truth = batch_of([1.0, 20.0, 5.0], [0, 0, 1])
    scores = DetectionScores(NAMES)
    scores.update(found_at([1.0, 20.0, 5.0], [0, 0, 1], [0.9, 0.8, 0.7]), truth)
    made = scores.compute()
    assert abs(float(made["ap"]) - 1) < 1e-6 and float(made["ate"]) == 0
    blind = DetectionScores(NAMES)
    blind.update(found_at([1.0], [0], [0.0]), truth)
    assert float(blind.compute()["ap"]) == 0 and blind.compute()["ate"].isnan()


def test_one_true_one_false_one_missed():
    # By score: true, false, true of 4: recalls 0.25, 0.25, 0.5, precisions 1, 1/2, 2/3.
    hit = torch.tensor([True, False, True])[:, None].expand(3, 4)
    score = torch.tensor([0.9, 0.8, 0.7])
    wanted = (15 * (1 - 0.1) + 25 * (2 / 3 - 0.1)) / 90 / 0.9  # recalls 0.11 to 0.25, and 0.26 to 0.50
    assert abs(float(average_precision(score, hit, 4)) - wanted) < 1e-6
    assert average_precision(score, hit, 0).isnan()


def test_a_body_is_taken_once_by_the_surest_and_only_by_its_class():
    truth = batch_of([0.0, 10.0], [0, 1])
    made = match(found_at([0.3, 0.1, 10.0], [0, 0, 0], [0.9, 0.8, 0.7]), truth)
    assert made.hit[0].tolist() == [[True, False, False]] * 4
    assert made.truth[0].tolist() == [0, -1, -1]
    far = match(found_at([1.5], [0], [0.9]), truth)
    assert far.hit[0, :, 0].tolist() == [False, False, True, True]


def test_sweeps_are_apart_and_padding_takes_nothing():
    truth = batch_of([0.0], [0])
    both = SweepBatch(*(torch.cat([part, part]) for part in truth[:4]))
    both.labels[1] = -1
    one = found_at([0.0], [0], [0.9])
    twice = Found(*(torch.cat([part, part]) for part in one))
    scores = DetectionScores(NAMES)
    scores.update(twice, both)
    assert scores.truths.tolist() == [1, 0]
    assert match(twice, both).hit[:, 0, 0].tolist() == [True, False]
    assert scores.compute()["ap_pedestrian"].isnan() and not scores.compute()["ap"].isnan()


def test_errors_and_their_consistency():
    generator = torch.Generator().manual_seed(0)
    count, deviation = 400, 0.2
    truth = batch_of([10.0 * n for n in range(count)], [0] * count)
    made = found_at([10.0 * n for n in range(count)], [0] * count, [0.5] * count)
    boxes = truth.boxes + deviation * torch.randn(truth.boxes.shape, generator=generator)
    scores = DetectionScores(NAMES)
    scores.update(made._replace(boxes=boxes, variance=torch.full((1, count, 9), deviation**2)), truth)
    made = scores.compute()
    assert abs(float(made["nees"]) - 1) < 0.1 and abs(float(made["coverage_95"]) - 0.95) < 0.04
    assert abs(float(made["ate"]) - deviation * (torch.pi / 2) ** 0.5) < 0.03
    assert float(made["ave"]) == 0


def test_no_boxes_in_the_truth():
    empty = SweepBatch(torch.zeros(2, 1, 5), torch.zeros(2, 0, 7), torch.zeros(2, 0, 2), torch.zeros(2, 0).long())
    one = found_at([0.0], [0], [0.9])
    scores = DetectionScores(NAMES)
    scores.update(Found(*(torch.cat([part, part]) for part in one)), empty)
    assert scores.compute()["ap"].isnan()


def cars(*rows):
    """One sweep of cars of 4 m by 2 m by 1.5 m, in batch and as found: rows of x, z, yaw."""
    boxes = torch.tensor([[x, 0.0, z, 4.0, 2.0, 1.5, yaw] for x, z, yaw in rows])[None]
    return boxes, torch.zeros(1, len(rows), dtype=torch.int64)


def test_overlap_counts_in_space_and_from_above_and_each_body_once():
    boxes, labels = cars((0, 0, 0), (20, 0, 0))
    truth = SweepBatch(torch.zeros(1, 1, 5), boxes, torch.zeros(1, 2, 2), labels)
    # 1 m along: 3/5 of the area; 0.5 m up as well: 3 * 1 / (2 * 4 * 1.5 - 3 * 1) of the volume, in units of the width.
    moved, own = cars((1, 0.5, 0), (0, 0, torch.pi), (20, 0, 0))
    found = Found(moved, torch.zeros(1, 3, 2), torch.tensor([[0.9, 0.8, 0.7]]), own, torch.ones(1, 3, 9))
    shared = overlaps(moved, boxes, torch.ones(1, 3, 2, dtype=torch.bool))
    torch.testing.assert_close(shared.above[0, 0], torch.tensor([0.6, 0.0], dtype=torch.float64))
    torch.testing.assert_close(shared.space[0, 0], torch.tensor([1 / 3, 0.0], dtype=torch.float64))
    scores = OverlapScores(NAMES)
    scores.update(found, truth)
    made = scores.compute()
    # In space and at 0.7: false, true, true of 2: precision 1/2 then 2/3, so 2/3 at all recalls.
    for name in ("ap_3d_50", "ap_3d_70", "ap_bev_70"):
        assert abs(float(made[f"{name}_car"]) - 2 / 3) < 1e-9 and made[f"{name}_pedestrian"].isnan()
    # From above at 0.5 the first takes the body, the second finds it taken: true, false, true.
    assert abs(float(made["ap_bev_50_car"]) - (1 + 2 / 3) / 2) < 1e-9 and made["ap_bev_50"] == made["ap_bev_50_car"]


def test_overlap_of_nothing_and_of_another_class():
    boxes, labels = cars((0, 0, 0))
    truth = SweepBatch(torch.zeros(1, 1, 5), boxes, torch.zeros(1, 1, 2), labels)
    other = Found(boxes, torch.zeros(1, 1, 2), torch.tensor([[0.9]]), labels + 1, torch.ones(1, 1, 9))
    scores = OverlapScores(NAMES)
    scores.update(other, truth)
    assert scores.compute()["ap_3d_50_car"] == 0
    empty = SweepBatch(torch.zeros(1, 1, 5), boxes[:, :0], torch.zeros(1, 0, 2), labels[:, :0])
    scores = OverlapScores(NAMES)
    scores.update(other, empty)
    assert scores.compute()["ap_3d_50"].isnan()
