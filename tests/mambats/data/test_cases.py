"""Cases keep their lengths, holes and clocks; batches pad behind; no case stands on both sides of a split."""

import numpy as np
import pytest
import torch

from mambats.data import Case, CasesDataModule, CaseSet, DataError, Holdout
from mambats.scale import Scaler
from mambats.series import Recording, Stream

SECOND = 10**9


class Drawn:
    """Recordings of unequal lengths with a class, or with a truth at every row."""

    name = "drawn"

    def __init__(self, count=12, classes=3, truth="class", seed=0):
        self.count, self.classes, self.truth, self.seed = count, classes, truth, seed

    def recordings(self):
        rng = np.random.default_rng(self.seed)
        return [self.one(index, rng) for index in range(self.count)]

    def one(self, index, rng):
        rows = 5 + index % 4
        stamps = np.arange(rows) * SECOND
        stream = Stream(stamps, rng.normal(3, 2, (rows, 2)), ("a", "b"))
        if self.truth == "class":
            truth = {"class": Stream(stamps[-1:], np.array([[float(index % self.classes)]]), ("class",))}
        elif self.truth == "left":
            truth = {"left": Stream(stamps, np.arange(rows)[::-1, None].astype(float), ("left",))}
        else:
            truth = {}
        return Recording(f"case_{index}", {"input": stream}, truth=truth)


def ready(**settings):
    data = CasesDataModule(Drawn(), **settings)
    data.setup("fit")
    return data


def recording(values, stamps=None, observed=None, truth=None):
    values = np.asarray(values, dtype=float)
    stamps = np.arange(len(values)) * SECOND if stamps is None else np.asarray(stamps)
    stream = Stream(stamps, values, ("a", "b")[: values.shape[1]], observed)
    return Recording("one", {"input": stream}, truth=truth or {})


def batch_of(*recordings, truth="left"):
    cases = [Case.of(each, None, truth) for each in recordings]
    return CaseSet(cases, Scaler(cases[0].channels), SECOND)[np.arange(len(cases))]


def test_a_batch_pads_behind_and_says_where():
    batch = batch_of(recording([[1.0, 2], [3, 4], [5, 6]]), recording([[7.0, 8]]))
    assert batch.values.tolist() == [[[1, 2], [3, 4], [5, 6]], [[7, 8], [0, 0], [0, 0]]]
    assert batch.mask.tolist() == [[True] * 3, [True, False, False]]
    assert batch.gaps is None and batch.observed is None
    assert torch.equal(batch.case, torch.tensor([0, 1]))


def test_equal_whole_cases_need_no_flags():
    batch = batch_of(recording([[1.0], [2]]), recording([[3.0], [4]]))
    assert batch.mask is None and batch.gaps is None and batch.observed is None
    assert bool(batch.rows.all())


def test_gaps_are_in_periods_and_start_at_one():
    batch = batch_of(recording([[1.0], [2], [3]], stamps=[5 * SECOND, 6 * SECOND, 9 * SECOND]))
    assert batch.gaps.tolist() == [[1, 1, 3]]


def test_what_was_not_observed_is_zero_and_an_empty_row_does_not_exist():
    observed = np.array([[True, False], [False, False], [True, True]])
    values = np.where(observed, 1.0, np.nan)
    batch = batch_of(recording(values, observed=observed))
    assert batch.mask.tolist() == [[True, False, True]]
    assert batch.values.tolist() == [[[1, 0], [0, 0], [1, 1]]]
    assert batch.observed.tolist() == [observed.tolist()]


def test_truth_lies_at_the_rows_of_its_stamps():
    truth = {"left": Stream(np.array([SECOND, 2 * SECOND + 1]), np.array([[4.0], [9]]), ("left",))}
    batch = batch_of(recording([[1.0], [2], [3]], truth=truth))
    np.testing.assert_equal(batch.target.numpy(), [[np.nan, 4, np.nan]])
    assert batch.last.tolist() == [4]
    assert bool(batch_of(recording([[1.0]])).last.isnan().all())


def test_streams_stand_side_by_side_on_one_clock_only():
    stamps = np.arange(2) * SECOND
    both = {name: Stream(stamps, np.full((2, 1), value), ("x",)) for name, value in (("left", 1.0), ("right", 2.0))}
    case = Case.of(Recording("two", both), None, "class")
    assert case.channels == ("left.x", "right.x") and case.values.tolist() == [[1, 2], [1, 2]]
    other = both | {"right": Stream(stamps + 1, np.ones((2, 1)), ("x",))}
    with pytest.raises(DataError, match="clocks of their own.*resample"):
        Case.of(Recording("two", other), None, "class")
    with pytest.raises(DataError, match="no stream \\['gnss'\\].*left, right"):
        Case.of(Recording("two", both), ["gnss"], "class")


def test_no_row_no_case():
    with pytest.raises(DataError, match="one has no row"):
        Case.of(recording(np.zeros((0, 2))), None, "class")


@pytest.mark.parametrize("fold", range(3))
def test_every_case_is_on_one_side_and_every_class_on_each(fold):
    data = ready(holdout=Holdout(val=0.25, folds=3, fold=fold))
    names = [{case.name for case in data.cases[split]} for split in ("train", "val", "test")]
    assert sum(map(len, names)) == len(set.union(*names)) == 12
    assert {float(case.target[-1]) for case in data.cases["test"]} == {0, 1, 2}
    assert {float(case.target[-1]) for case in data.cases["train"]} == {0, 1, 2}


def test_folds_together_test_every_case_once():
    tested = [case.name for fold in range(3) for case in ready(holdout=Holdout(folds=3, fold=fold)).cases["test"]]
    assert sorted(tested) == sorted(f"case_{i}" for i in range(12))


def test_the_scaler_knows_training_cases_only():
    data = ready()
    rows = np.concatenate([case.values for case in data.cases["train"]])
    np.testing.assert_allclose(data.scaler.mean.numpy(), rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(data.scaler.scale.numpy(), rows.std(0), rtol=1e-5)


def test_a_test_source_is_tested_whole():
    data = ready(test=Drawn(count=5, seed=1))
    assert len(data.cases["test"]) == 5 and len(data.cases["train"]) + len(data.cases["val"]) == 12


def test_training_order_changes_and_evaluation_order_does_not():
    data = ready(batch_size=4, eval_batch_size=100)
    loader = data.train_dataloader()
    first = torch.cat([batch.case for batch in loader])
    loader.sampler.set_epoch(1)
    assert not torch.equal(first, torch.cat([batch.case for batch in loader]))
    assert set(first.tolist()) == set(range(len(data.cases["train"])))
    [batch] = data.test_dataloader()
    assert batch.case.tolist() == list(range(len(data.cases["test"])))


def test_new_cases_are_scaled_as_the_model_was_trained():
    data, other = ready(), CasesDataModule(Drawn(seed=3))
    other.setup("test")
    other.load_state_dict(data.state_dict())
    assert torch.equal(other.split("test").scaler.mean, data.scaler.mean)
    with pytest.raises(DataError, match="trained on channels x"):
        other.adopt(Scaler(("x",)), SECOND)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"truth": "rul"}, "no case has the truth 'rul'"),
        ({"truth": "left", "source": Drawn(truth="left")}, None),
        ({"source": Drawn(count=0)}, "gave no case"),
        ({"source": Drawn(count=1)}, "split"),
    ],
)
def test_data_that_cannot_be_used(settings, words):
    data = CasesDataModule(**{"source": Drawn(), **settings})
    if words is None:
        data.setup("fit")  # 0 at the last row: a class like any other
        return
    with pytest.raises(DataError, match=words):
        data.setup("fit")


@pytest.mark.parametrize("settings", [{"val": 0.0}, {"folds": 1}, {"fold": 5}])
def test_a_holdout_that_does_not_exist(settings):
    with pytest.raises(DataError, match="need a share"):
        Holdout(**settings)


def test_unlabelled_cases_can_be_predicted():
    data = CasesDataModule(Drawn(), test=Drawn(count=2, truth="none"))
    data.setup("predict")
    [batch] = data.predict_dataloader()
    assert len(batch) == 2 and bool(batch.last.isnan().all())
