"""Scores where the answer is known by hand, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mambats.track import Objects
from mambats.track.metrics import (
    AMOTA,
    HOTA,
    IDF1,
    NAMES,
    SAMOTA,
    Ab3dmotRule,
    ClearMOT,
    KittiRule,
    NuscenesRule,
    PlainRule,
    evaluate,
    interpolated,
    nuscenes_scores,
    similarity_of_pairs,
)
from mambats.track.metrics.averaged import pack, unpack
from mambats.track.metrics.scene import pair_rows
from mambats.track.objects import splits_of


def objects(frames, score=None, **more):
    """Frames of {identity: x}, boxes 4 x 2 x 1.5 m at (x, 0, 0), 10 frames a second."""
    rows = [(identity, x) for frame in frames for identity, x in frame.items()]
    boxes = torch.tensor([[x, 0, 0, 4, 2, 1.5, 0] for _, x in rows], dtype=torch.float64).view(-1, 7)
    pixels = torch.stack([boxes[:, 0] * 10, boxes[:, 0] * 0, boxes[:, 0] * 10 + 40, boxes[:, 0] * 0 + 40], -1)
    return Objects(
        stamps=torch.arange(len(frames)) * 100_000_000,
        splits=splits_of([len(frame) for frame in frames]),
        boxes=boxes,
        labels=torch.zeros(len(rows), dtype=torch.int64),
        classes=("Car",),
        score=torch.ones(len(rows), dtype=torch.float64) if score is None else torch.tensor(score).double(),
        identity=torch.tensor([identity for identity, _ in rows], dtype=torch.int64),
        pixels=pixels,
        truncated=torch.zeros(len(rows)),
        occluded=torch.zeros(len(rows), dtype=torch.int64),
        **more,
    )


def scored(metric, labels, tracks):
    metric.update(labels, tracks)
    return {name: float(value) for name, value in metric.compute().items()}


LABELS = objects([{1: 0.0, 2: 10.0}] * 4)


@pytest.mark.parametrize("similarity", NAMES)
def test_perfect_tracks_score_one(similarity):
    rule = PlainRule("Car", similarity)
    for metric, names in (
        (HOTA(rule), ("HOTA", "DetA", "AssA", "LocA")),
        (ClearMOT(rule), ("MOTA", "MOTP", "recall", "precision", "MT")),
        (IDF1(rule), ("IDF1", "IDP", "IDR")),
        (SAMOTA(rule, 0.5), ("MOTA", "MOTP", "recall")),
    ):
        found = scored(metric, LABELS, LABELS)
        assert [found[name] for name in names] == pytest.approx([1.0] * len(names), abs=1e-12)


def test_swapped_identities():
    """Two bodies change their tracks half way: nothing is missed, and half of it belongs together."""
    tracks = objects([{1: 0.0, 2: 10.0}] * 2 + [{1: 10.0, 2: 0.0}] * 2)
    rule = PlainRule("Car")
    clear = scored(ClearMOT(rule), LABELS, tracks)
    assert (clear["IDSW"], clear["FP"], clear["FN"], clear["Frag"]) == (2, 0, 0, 0)
    assert clear["MOTA"] == pytest.approx(1 - 2 / 8)
    assert scored(IDF1(rule), LABELS, tracks)["IDF1"] == pytest.approx(0.5)
    hota = scored(HOTA(rule), LABELS, tracks)
    assert hota["DetA"] == pytest.approx(1)
    assert hota["AssA"] == pytest.approx(2 / (4 + 4 - 2))  # of 4 boxes of either body, 2 belong together
    assert hota["HOTA"] == pytest.approx((1 / 3) ** 0.5)


def test_hota_counts_overlaps_from_alpha_on():
    """Boxes that overlap by 3.5 of 4.5 m^2 a m match at alpha up to 0.75: 15 of 19."""
    tracks = objects([{1: 0.5, 2: 10.5}] * 4)
    found = scored(HOTA(PlainRule("Car")), LABELS, tracks)
    assert found["DetA"] == pytest.approx(15 / 19)
    assert found["LocA"] == pytest.approx((15 * 3.5 / 4.5 + 4) / 19)


def test_a_gap_is_a_fragment_and_no_switch():
    tracks = objects([{1: 0.0}, {}, {5: 50.0}, {1: 0.0}])
    found = scored(ClearMOT(PlainRule("Car")), objects([{1: 0.0}] * 4), tracks)
    assert (found["TP"], found["FN"], found["FP"], found["IDSW"], found["Frag"]) == (2, 2, 1, 0, 1)


def test_a_pair_is_kept_though_another_is_nearer():
    labels = objects([{1: 0.0}] * 2)
    tracks = objects([{1: 0.8}, {1: 0.8, 2: 0.0}])
    found = scored(ClearMOT(PlainRule("Car")), labels, tracks)
    assert (found["TP"], found["IDSW"], found["FP"]) == (2, 0, 1)
    assert scored(ClearMOT(PlainRule("Car")), labels, objects([{1: 0.8}, {2: 0.0}]))["IDSW"] == 1


def test_no_tracks_and_no_labels():
    empty = objects([{}] * 4)
    rule = PlainRule("Car")
    clear = scored(ClearMOT(rule), LABELS, empty)
    assert (clear["FN"], clear["FP"], clear["MOTA"], clear["ML"]) == (8, 0, 0, 1)
    assert scored(HOTA(rule), LABELS, empty)["HOTA"] == 0
    assert scored(IDF1(rule), LABELS, empty)["IDF1"] == 0
    assert scored(ClearMOT(rule), empty, LABELS)["FP"] == 8
    assert scored(SAMOTA(rule), LABELS, empty)["sAMOTA"] == 0
    assert np.isnan(scored(SAMOTA(rule), empty, LABELS)["sAMOTA"])
    found = scored(AMOTA(NuscenesRule("Car")), LABELS, empty)
    assert (found["AMOTA"], found["AMOTP m"], found["FN"]) == (0, 2, 8)
    assert np.isnan(scored(AMOTA(NuscenesRule("Car")), empty, LABELS)["AMOTA"])


def test_recall_thresholds_leave_out_doubtful_tracks():
    """A false track of low score costs at full recall only: sAMOTA is higher than MOTA of all."""
    labels = objects([{1: 0.0, 2: 10.0}] * 20)
    tracks = objects([{1: 0.0, 2: 10.0, 3: 30.0}] * 20, score=[5.0, 4.0, 1.0] * 20)
    found = scored(SAMOTA(PlainRule("Car")), labels, tracks)
    assert (found["MOTA"], found["FP"], found["score"]) == (1, 0, 4)
    assert scored(ClearMOT(PlainRule("Car")), labels, tracks)["MOTA"] == pytest.approx(0.5)


def test_time_to_find_a_body_and_its_longest_gap():
    labels = objects([{1: 0.0}] * 10)
    tracks = objects([{}, {}, {1: 0.0}, {1: 0.0}, {1: 9.0}, {1: 9.0}, {1: 9.0}, {1: 0.0}, {1: 0.0}, {}])
    found = nuscenes_scores([NuscenesRule("Car")(labels, tracks)])
    assert (found["TID s"], found["LGD s"], found["Frag"]) == pytest.approx((0.2, 0.3, 1))


def test_nuscenes_counts_what_is_near_enough():
    labels, tracks = objects([{1: 45.0, 2: 55.0}] * 3), objects([{1: 46.99, 2: 54.0}] * 3)
    found = nuscenes_scores([NuscenesRule("Car")(labels, tracks)])
    assert (found["TP"], found["FP"], found["FN"], found["MOTP m"]) == pytest.approx((3, 0, 0, 1.99))
    away = objects([{1: 47.01}] * 3)
    assert nuscenes_scores([NuscenesRule("Car")(labels, away)])["TP"] != 3


def test_gaps_are_filled_in_time():
    gaps = objects([{1: 0.0}, {2: 7.0}, {}, {1: 6.0}, {2: 8.0}])
    yaw = gaps.boxes.clone()
    yaw[0, 6], yaw[2, 6] = 3.1, -3.1  # the short way is across pi
    found = interpolated(replace(gaps, boxes=yaw))
    one = found.take(found.identity == 1)
    assert one.splits.tolist() == [0, 1, 2, 3, 4, 4]
    assert one.boxes[:, 0].tolist() == pytest.approx([0, 2, 4, 6])
    assert one.boxes[1, 6].abs().item() > 3.1
    assert len(found.boxes) == 8


def test_kitti_rule_takes_out_what_neither_counts_nor_hurts():
    frame = {1: 0.0, 2: 10.0, 3: 20.0, 4: 30.0}
    labels = replace(
        objects([frame]),
        classes=("Car", "Van", "DontCare"),
        labels=torch.tensor([0, 1, 0, 2]),
        occluded=torch.tensor([0, 0, 3, 0]),
        identity=torch.tensor([1, 2, 3, -1]),
        score=None,
    )
    tracks = objects([frame | {5: 50.0, 6: 70.0}])
    low = tracks.pixels.clone()
    low[5, 3] = 25.0  # as high as what is left out
    found = scored(ClearMOT(KittiRule("Car")), labels, replace(tracks, pixels=low))
    assert (found["TP"], found["FP"], found["FN"]) == (1, 1, 0)
    own = Ab3dmotRule("Car", "iou_2d")(labels, replace(tracks, pixels=low))
    assert own.labels.excused.tolist() == [False, True, True]
    assert own.tracks.excused.tolist() == [False, False, False, True, False, True]


def test_sequences_survive_packing():
    scenes = [PlainRule("Car")(LABELS, LABELS), PlainRule("Car")(LABELS, objects([{}, {7: 0.0}, {}, {}]))]
    found = unpack(torch.cat([pack(scene) for scene in scenes]))
    for one, other in zip(scenes, found, strict=True):
        np.testing.assert_array_equal(one.similarity, other.similarity)
        np.testing.assert_array_equal(one.tracks.splits, other.tracks.splits)
        assert one.seconds == other.seconds


def test_pairs_are_those_of_a_frame():
    label, track = pair_rows(np.array([0, 2, 2, 3]), np.array([0, 1, 4, 6]))
    assert list(zip(label, track, strict=True)) == [(0, 0), (1, 0), (2, 4), (2, 5)]


def test_one_long_frame_is_scored_in_parts(monkeypatch):
    monkeypatch.setattr("mambats.track.metrics.similarity._CHUNK", 3)
    rows = pair_rows(LABELS.splits.numpy(), LABELS.splits.numpy())
    found = similarity_of_pairs(LABELS, LABELS, rows, "iou_3d")
    np.testing.assert_array_equal(found, [1, 0, 0, 1] * 4)


@pytest.mark.parametrize(
    ("labels", "tracks", "message"),
    [
        (LABELS, LABELS.between(0, 3), "labels have 4 frames, tracks 3"),
        (LABELS, replace(LABELS, stamps=LABELS.stamps + 1), "frame 0 is at 0 ns in the labels, at 1 ns"),
        (LABELS.between(0, 0), LABELS.between(0, 0), "no frames"),
        (LABELS, replace(LABELS, identity=None), "tracks have no identities"),
        (
            LABELS,
            replace(LABELS, identity=torch.ones(8, dtype=torch.int64)),
            "frame 0 of the tracks has identity 1 twice",
        ),
        (LABELS, replace(LABELS, boxes=LABELS.boxes * torch.nan), "frame 0 of the tracks has a box without a place"),
        (LABELS, replace(LABELS, classes=("Van",)), r"unknown classes \['Car'\]"),
    ],
)
def test_what_does_not_fit_is_refused(labels, tracks, message):
    with pytest.raises(ValueError, match=message):
        HOTA(PlainRule("Car")).update(labels, tracks)


def test_other_mistakes():
    with pytest.raises(ValueError, match="there is no similarity 'iou'"):
        PlainRule("Car", "iou")(LABELS, LABELS)
    with pytest.raises(ValueError, match="no boxes in the picture"):
        KittiRule("Car")(LABELS, replace(LABELS, pixels=None))
    with pytest.raises(ValueError, match="lack occluded"):
        KittiRule("Car")(replace(LABELS, occluded=None), LABELS)
    with pytest.raises(ValueError, match="tracks have no scores"):
        SAMOTA(PlainRule("Car")).update(LABELS, replace(LABELS, score=None))
    with pytest.warns(UserWarning, match="before"), pytest.raises(ValueError, match="no sequence was added"):
        SAMOTA(PlainRule("Car")).compute()
    with pytest.raises(ValueError, match="unknown classes tram: there are car"):
        evaluate([], ["tram"])
    with pytest.raises(ValueError, match="no sequence to score"):
        evaluate([], ["car"])
