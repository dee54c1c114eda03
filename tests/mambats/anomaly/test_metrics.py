import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambats.anomaly.metrics import (
    LOW_FALSE_ALARMS,
    LOW_MISSES,
    best_point_f1,
    find_ranges,
    inflated_point_adjusted_f1,
    nab_score,
    point_areas,
    probation_rows,
    range_f1,
    range_precision,
    range_recall,
    volume_areas,
)


def flags(text):
    return torch.tensor([mark == "x" for mark in text], dtype=torch.bool)


def wave(rows=200):
    """A score and labels by formula: the same on every machine."""
    t = torch.arange(rows, dtype=torch.float64)
    labels = torch.zeros(rows, dtype=torch.bool)
    for first, last in ((40, 60), (66, 70), (150, 151), (192, 200)):
        labels[first:last] = True
    return torch.sin(0.37 * t) + 0.8 * torch.cos(1.1 * t + 0.5) + 0.7 * labels, labels


# --- ranges


def test_ranges():
    assert find_ranges(flags("x..xx.x")).tolist() == [[0, 0], [3, 4], [6, 6]]
    assert find_ranges(flags("...")).tolist() == [] and find_ranges(flags("")).tolist() == []
    with pytest.raises(ValueError, match=r"\(T,\) bool"):
        find_ranges(torch.zeros(3))


@pytest.mark.parametrize(
    ("labels", "alarms", "existence", "bias", "recall"),
    [
        ("..xxxx..", "..xx....", 0.0, "flat", 0.5),
        ("..xxxx..", "..x.x...", 0.0, "flat", 0.25),  # two alarms for one range halve the reward
        ("..xxxx..", "..xx....", 0.5, "flat", 0.75),
        ("..xxxx..", "..xx....", 0.0, "front", 0.7),  # (4 + 3) / (4 + 3 + 2 + 1)
        ("..xxxx..", "..xx....", 0.0, "back", 0.3),
        ("..xxxx..", "...xx...", 0.0, "middle", 4 / 6),
        ("xx...xx.", "xx......", 0.0, "flat", 0.5),
        ("xx...xx.", "xxxxxxxx", 0.0, "flat", 1.0),
        ("xx...xx.", "........", 1.0, "flat", 0.0),
    ],
)
def test_range_recall_by_hand(labels, alarms, existence, bias, recall):
    found = range_recall(flags(alarms), flags(labels), existence=existence, bias=bias)
    assert found.item() == pytest.approx(recall)


def test_range_precision_and_f1_by_hand():
    labels, alarms = flags("..xxxx...."), flags("...x...xx.")
    assert range_precision(alarms, labels).item() == pytest.approx(0.5)
    assert range_f1(alarms, labels).item() == pytest.approx(2 * 0.5 * 0.25 / 0.75)
    assert range_f1(flags("." * 10), labels).item() == 0
    assert range_f1(alarms, flags("." * 10)).isnan()
    with pytest.raises(ValueError, match="one of each a row"):
        range_recall(alarms[:5], labels)


@given(st.lists(st.booleans(), min_size=4, max_size=30), st.integers(0, 1000))
def test_for_ranges_of_one_row_range_scores_are_the_usual_ones(spread, seed):
    """Every other row normal and never flagged: each range is a point."""
    torch.manual_seed(seed)
    alarms, labels = torch.zeros(2 * len(spread), dtype=torch.bool), torch.zeros(2 * len(spread), dtype=torch.bool)
    labels[::2] = torch.tensor(spread)
    alarms[::2] = torch.rand(len(spread)) < 0.5
    hits = (alarms & labels).sum()
    for found, count in ((range_recall(alarms, labels), labels.sum()), (range_precision(alarms, labels), alarms.sum())):
        assert found.isnan() if count == 0 else found.item() == pytest.approx((hits / count).item())


# --- threshold-free


def test_point_areas_are_scikit_learns():
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels = torch.rand(300) < 0.2
    for scores in (torch.randn(300) + labels, torch.randint(0, 4, (300,)) + labels):  # and with many ties
        found = point_areas(scores.double(), labels)
        assert found.roc.item() == pytest.approx(roc_auc_score(labels, scores))
        assert found.pr.item() == pytest.approx(average_precision_score(labels, scores))


# metricor().RangeAUC_volume_opt(labels, score, buffer, thre=200) of release 0.0.6 of the authors' package `vus`.
VUS = {
    0: (0.5971239339502813, 0.3432002484629064),
    1: (0.5971239339502813, 0.3432002484629064),
    8: (0.6770990673499131, 0.3939459337073148),
    15: (0.7461631883088844, 0.4518550701218719),
}


@pytest.mark.parametrize("buffer", VUS)
def test_volumes_are_the_authors(buffer):
    assert [v.item() for v in volume_areas(*wave(), buffer)] == pytest.approx(VUS[buffer])


@given(st.integers(0, 10_000))
def test_only_the_order_of_scores_counts(seed):
    torch.manual_seed(seed)
    labels = torch.zeros(40, dtype=torch.bool)
    labels[10:14] = True
    scores = torch.randn(40, dtype=torch.float64)
    for areas in (point_areas, lambda s, y: volume_areas(s, y, 6)):
        torch.testing.assert_close(torch.stack(areas(scores.exp(), labels)), torch.stack(areas(scores, labels)))


def test_a_perfect_score_and_a_near_miss():
    _, labels = wave()
    assert [v.item() for v in volume_areas(labels.double(), labels, 0)] == pytest.approx([1.0, 1.0])
    late = torch.roll(labels, 3).double()
    hard, soft = volume_areas(late, labels, 0), volume_areas(late, labels, 20)
    assert soft.pr > hard.pr and soft.roc > hard.roc  # what comes three rows late is worth something


def test_what_cannot_be_ranked_is_refused():
    scores, labels = wave()
    broken = scores.clone()
    broken[7] = torch.nan
    with pytest.raises(ValueError, match="score 7 is NaN"):
        point_areas(broken, labels)
    with pytest.raises(ValueError, match="all 200 rows are normal"):
        volume_areas(scores, torch.zeros_like(labels), 5)
    with pytest.raises(ValueError, match="all 200 rows are anomalous"):
        point_areas(scores, torch.ones_like(labels))
    with pytest.raises(ValueError, match="needed the same"):
        point_areas(scores[:5], labels)
    with pytest.raises(ValueError, match="buffer is -1"):
        volume_areas(scores, labels, -1)


# --- NAB


def nab_by_loops(scores, labels, threshold, hit=1.0, false_alarm=0.11, miss=1.0):
    """The published definition, row by row."""
    scores = [score.tolist() for score in scores]

    def sigmoid(place):
        return -1.0 if place >= 3 else 2 / (1 + math.exp(5 * place)) - 1

    total = windows = 0.0
    for score, label in zip(scores, labels, strict=True):
        ranges, begin = find_ranges(label).tolist(), int(0.15 * min(len(label), 5000))
        best = {}
        inside_any = label.tolist()
        for row in range(begin, len(label)):
            if score[row] < threshold and not inside_any[row]:
                continue
            inside = next(((a, b) for a, b in ranges if a <= row <= b), None)
            if inside is not None:
                best.setdefault(inside, -miss)
                if score[row] >= threshold:
                    place = -(inside[1] - row + 1) / (inside[1] - inside[0] + 1)
                    best[inside] = max(best[inside], hit * sigmoid(place) / sigmoid(-1.0))
            elif score[row] >= threshold:
                past = [(a, b) for a, b in ranges if b < row]
                place = 3.0 if not past else (row - past[-1][1]) / max(past[-1][1] - past[-1][0], 1)
                total += false_alarm * sigmoid(place)
        total += sum(best.values())
        windows += len(best)
    return 100 * (total + miss * windows) / ((hit + miss) * windows)


@pytest.mark.parametrize("weights", [{}, {"false_alarm": 0.22}, {"miss": 2.0}])
def test_nab_is_the_definition_at_every_threshold(weights):
    from mambats.anomaly.metrics import NabProfile

    pairs = [wave(), (torch.randn(120, dtype=torch.float64), torch.arange(120) // 7 % 5 == 2)]
    scores, labels = [s for s, _ in pairs], [y for _, y in pairs]
    profile = NabProfile(**weights)
    levels = torch.cat(scores).sort().values
    levels = levels[::5] if weights else levels  # the best of all is looked for once
    every = [nab_by_loops(scores, labels, float(level), **weights) for level in levels]
    for level, expected in list(zip(levels, every, strict=True))[::5]:
        assert nab_score(scores, labels, float(level), profile).score == pytest.approx(expected)
    best = nab_score(scores, labels, profile=profile)
    assert best.score >= max(*every, 0.0) - 1e-9 and (weights or best.score == pytest.approx(max(*every, 0.0)))
    assert nab_score(scores, labels, best.threshold, profile).score == pytest.approx(best.score)


def test_nab_ends_of_the_scale():
    _, labels = wave()
    first = torch.zeros(200, dtype=torch.float64)
    first[find_ranges(labels)[:, 0]] = 1.0
    assert nab_score([first], [labels], 0.5).score == pytest.approx(100.0)
    assert nab_score([first], [labels], 2.0).score == 0.0  # silence
    everywhere = torch.ones(200)
    assert nab_score([everywhere], [labels], 0.5).score < 100
    assert nab_score([everywhere], [labels]).score >= 0  # silence is always to be had
    dear, strict = (nab_score([everywhere], [labels], 0.5, p).score for p in (LOW_MISSES, LOW_FALSE_ALARMS))
    assert strict < nab_score([everywhere], [labels], 0.5).score < dear


def test_nab_early_is_better_and_the_probation_is_silent():
    labels = torch.zeros(200, dtype=torch.bool)
    labels[100:140] = True

    def at(*rows):
        score = torch.zeros(200)
        score[list(rows)] = 1.0
        return nab_score([score], [labels], 0.5).score

    assert at(101) > at(120) > at(139) > 0
    assert at(101, 139) == pytest.approx(at(101))  # only the best alarm of a window counts
    assert at(101, 29) == at(101) > at(101, 30)  # 15 % of 200 rows
    assert at(101, 141) > at(101, 170) > at(101, 60)  # a late alarm costs less than one out of the blue
    assert probation_rows(22_695) == 750


def test_nab_of_nothing_to_find():
    with pytest.raises(ValueError, match="no labelled window"):
        nab_score([torch.zeros(50)], [torch.zeros(50, dtype=torch.bool)])
    early = torch.zeros(100, dtype=torch.bool)
    early[3:9] = True
    with pytest.raises(ValueError, match="no labelled window"):
        nab_score([torch.zeros(100)], [early])
    with pytest.raises(ValueError, match="1 series of scores, 0 of labels"):
        nab_score([torch.zeros(100)], [])
    with pytest.raises(ValueError, match="without NaN"):
        nab_score([torch.full((200,), torch.nan)], [wave()[1]])


# --- point adjustment


def test_point_adjustment_lets_dice_win_over_an_honest_detector():
    """Long ranges: noise that is 'adjusted' beats a detector that finds most rows, and does not without adjustment."""
    labels = torch.zeros(4000, dtype=torch.bool)
    labels[1000:1400], labels[3000:3400] = True, True
    dice = torch.rand(4000, dtype=torch.float64)
    honest = dice + 0.6 * labels
    assert inflated_point_adjusted_f1(dice, labels) > 0.85 > best_point_f1(honest, labels)
    assert best_point_f1(dice, labels) < 0.4
    assert volume_areas(dice, labels, 50).pr < 0.3 < volume_areas(honest, labels, 50).pr


def test_best_point_f1_is_the_best_of_all_thresholds():
    from sklearn.metrics import f1_score

    scores, labels = wave(120)
    every = [f1_score(labels[:120], scores >= level) for level in scores]
    assert best_point_f1(scores, labels).item() == pytest.approx(max(every))
