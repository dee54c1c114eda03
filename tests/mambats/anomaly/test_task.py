import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mambats.anomaly import AnomalyTask, Detector, ForecastError, QuantileHead, SeriesDataModule
from mambats.anomaly.baselines import all_baselines, filled
from mambats.anomaly.data import to_series
from mambats.anomaly.metrics import find_ranges
from mambats.anomaly.report import judge_baseline
from mambats.anomaly.scoreboard import Judged, corpus_scores, series_scores
from mambats.checkpoint import load_task
from mambats.cli import main
from mambats.encoders import CausalEncoder
from mambats.formats.error import DataError
from mambats.results import read_results, rows_of, table
from mambats.series import Recording, Stream
from mambats_datasets import NAB, nab
from mambats_datasets.fakes.nab import fake

HOUR = 3600 * 10**9
SERIES = ("nyc_taxi", "rogue_agent_key_updown")
RECIPE = Path(__file__).parents[3] / "recipes/anomaly/nab.yaml"


def recording(rows=400, name="wave", channels=1, labels=((200, 220), (300, 310))):
    stamps = np.arange(rows, dtype=np.int64) * HOUR
    values = np.sin(np.arange(rows) * 2 * np.pi / 24)[:, None] * np.arange(1, channels + 1) * 50 + 100
    flags = np.zeros((rows, 1))
    for first, last in labels:
        flags[first : last + 1] = 1
        values[first : last + 1] += 120
    observed = np.ones_like(values, dtype=bool)
    observed[37:38] = False
    names = tuple(f"c{i}" for i in range(channels))
    stream = Stream(stamps, np.where(observed, values, np.nan), names, observed)
    return Recording(name, {"target": stream}, truth={"anomaly": Stream(stamps, flags, ("anomaly",))})


class Waves:
    """Two series of waves with labelled steps."""

    name = "waves"

    def recordings(self):
        return [recording(), recording(500, "other")]


def test_a_series_is_scaled_on_its_probation_and_keeps_its_labels():
    series = to_series(recording())
    assert series.begin == 60 and series.period_ns == HOUR
    seen = series.rows.values[0][:60][series.rows.seen[0][:60]]
    assert seen.mean().item() == pytest.approx(0, abs=1e-5) and seen.std(unbiased=False).item() == pytest.approx(
        1, abs=1e-5
    )
    assert find_ranges(series.labels).tolist() == [[200, 220], [300, 310]]
    assert not series.rows.seen[0, 37] and series.rows.values[0, 37] == 0
    again = series.rows.values[0, 0] * series.scale + series.location
    assert again.item() == pytest.approx(100.0, abs=1e-3)


def test_training_windows_come_from_the_probation_only():
    data = SeriesDataModule(Waves(), lookback=16, batch_size=4, steps=3)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 3 == len(data.train_dataloader())
    first = data.series[0].rows.values[0, :48], data.series[1].rows.values[0, :60]
    for values in torch.cat([batch.values for batch in batches]):
        assert any((values == part[i : i + 16]).all() for part in first for i in range(len(part) - 15))
    assert all(batch.gaps[:, 0].eq(1).all() for batch in batches)
    assert [rows.values.shape for rows in data.val_dataloader()] == [(1, 16, 1), (1, 16, 1)]


def test_series_that_cannot_serve_are_refused():
    bare = recording()
    for words, made in {
        "needed a stream 'target'": Recording("bare", {"imu": bare.streams["target"]}),
        "with the same stamps": Recording("bare", bare.streams, truth=recording(90, labels=()).truth),
        "its probation of 0 rows": recording(5, labels=()),
    }.items():
        with pytest.raises(DataError, match=words):
            to_series(made)
    with pytest.raises(DataError, match="probation of wave is shorter than a window of 50"):
        SeriesDataModule(Waves(), lookback=50).setup("fit")
    with pytest.raises(DataError, match="at least 1"):
        SeriesDataModule(Waves(), steps=0)


@pytest.mark.parametrize("name", all_baselines())
def test_baselines_read_the_past_only_and_find_a_step(name):
    series = to_series(recording())
    baseline = all_baselines()[name]
    surprise = baseline.surprise(series)
    assert surprise.shape == (400,) and (surprise >= 0).all() and surprise.isfinite().all()
    rows = series.rows.values.clone()
    rows[:, 250:] += 3.0
    later = baseline.surprise(replace(series, rows=series.rows._replace(values=rows)))
    assert torch.equal(surprise[:250], later[:250])
    if name != "noise":
        assert surprise[200] > surprise[150:200].mean()


def test_series_without_labels_are_trained_on_and_scored_but_not_tested():
    class Bare:
        name = "bare"

        def recordings(self):
            return [Recording("bare", recording().streams)]

    data = SeriesDataModule(Bare(), lookback=16)
    data.setup("fit")
    data.setup("predict")
    assert len(data.predict_dataloader()) == 1
    with pytest.raises(DataError, match="bare has no truth 'anomaly', so nothing can be tested"):
        data.setup("test")


def test_holes_are_filled_with_the_last_value():
    series = to_series(recording())
    values = filled(series)
    assert torch.equal(values[37], values[36]) and values.isfinite().all()


def test_seasonal_naive_of_a_true_day_is_right():
    series = to_series(recording(labels=()))
    assert all_baselines()["seasonal_naive"].surprise(series)[62:].max() < 1e-5
    assert all_baselines()["last_value"].surprise(series)[62:].max() > 0.1


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Two series in the true file format, one labelled window each beyond the probation."""
    monkeypatch.setitem(nab.RECORDS, "windows", replace(nab.WINDOWS, sha256="", bytes=None))
    windows = [["2014-07-05 04:00:00.000000", "2014-07-05 14:00:00.000000"]]
    for name in SERIES:
        monkeypatch.setitem(nab.RECORDS, name, replace(nab.record(name), sha256="", bytes=None))
        path = fake(tmp_path / "nab", rows=400, name=name)
    labels = {f"realKnownCause/{name}.csv": windows for name in SERIES}
    path.with_name("combined_windows.json").write_text(json.dumps(labels))
    return tmp_path


def test_the_recipe_trains_is_scored_and_comes_back(corpus, capsys):
    source = {"class_path": "mambats_datasets.NAB", "init_args": {"root": str(corpus), "series": list(SERIES)}}
    words = ["--config", str(RECIPE), "--runs", str(corpus / "runs"), "--trainer.logger", "false"]
    words += ["--data.init_args.source", json.dumps(source), "--data.init_args.lookback", "40"]
    scorer = "--model.init_args.model.init_args.scorer.init_args"
    words += [f"{scorer}.count", "2", f"{scorer}.scorer.init_args.warm", "8"]
    words += ["--data.init_args.steps", "2", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    assert main(["fit", *words]) == 0
    assert main(["test", *words]) == 0
    rows = read_results(corpus / "runs/nab/results.json")
    assert {row.model for row in rows} == {"nab", *all_baselines()}
    assert {row.source for row in rows} == {"nab", *(f"nab/{name}" for name in SERIES)}
    assert all(row.mode == "online" for row in rows) and all(np.isfinite(row.value) for row in rows)
    assert "range_f1" in capsys.readouterr().out
    assert main(["predict", *words, "--output", str(corpus / "scores.csv")]) == 0
    lines = (corpus / "scores.csv").read_text().splitlines()
    assert lines[0] == "unique_id,ds,score,lasting,alarm,scored" and len(lines) == 801
    for name in SERIES:
        assert (corpus / f"runs/nab/pictures/{name}.png").stat().st_size > 10_000
    again = load_task(corpus / "runs/nab/checkpoints/best.ckpt")
    assert isinstance(again, AnomalyTask) and again.channels == ("value",)
    data = SeriesDataModule(NAB(str(corpus), list(SERIES)), lookback=40)
    data.setup("test")
    assert again(data.series[0].rows).score.isfinite().all()


def test_a_corpus_without_windows_beyond_the_probation_has_no_score():
    series = to_series(recording(labels=((3, 9),)))
    none = Judged(series, *torch.zeros(2, 400), *torch.zeros(2, 400, dtype=torch.bool))
    scores = corpus_scores([none], [series_scores(none)])
    assert scores.pop("false_per_1000") == 0 and all(np.isnan(value) for value in scores.values())


def test_a_baseline_is_judged_as_the_model_is():
    series = to_series(recording())
    detector = Detector(ForecastError(CausalEncoder(1, 8, 1), QuantileHead(8, 1)))
    found = judge_baseline(all_baselines()["last_value"].surprise(series), series, detector)
    assert found.alarm[200] and not found.alarm[60:200].any()
    assert series_scores(found)["auc_roc"] > 0.5


def test_data_of_other_channels_is_refused():
    task = AnomalyTask(Detector(ForecastError(CausalEncoder(1, 8, 1), QuantileHead(8, 1))))
    task.channels = ("speed",)

    class Trainer:
        datamodule = SeriesDataModule(Waves(), lookback=16)

    Trainer.datamodule.setup("fit")
    task._trainer = Trainer()
    with pytest.raises(ValueError, match=r"trained on channels \['speed'\], the data has \['c0'\]"):
        task.setup("fit")


def test_the_table_marks_the_highest_score_and_the_fewest_false_alarms():
    values = {"good": {"nab_best": 20.0, "false_per_1000": 1.0}, "bad": {"nab_best": -5.0, "false_per_1000": 4.0}}
    rows = [
        row
        for name, scores in values.items()
        for row in rows_of(
            scores, model=name, source="nab", split="test", lookback=0, horizon=1, windows=9, seed=None, mode="online"
        )
    ]
    marked = next(line for line in table(rows).splitlines() if line.startswith("good"))
    assert marked.count("*") == 2
