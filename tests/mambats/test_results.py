import errno
import json
import math
import os

import pytest

from mambats.results import (
    ResultsError,
    Row,
    merge_rows,
    read_results,
    rows_of,
    seed_of_run,
    show_results,
    table,
    write_results,
    write_whole,
)

KEYS = ["model", "source", "split", "lookback", "horizon", "metric", "value", "windows", "seed", "mode"]


def row(model="demo", metric="mse", value=0.5, **more):
    given = {"source": "ETTh1", "split": "test", "lookback": 96, "horizon": 96, "windows": 2785, "seed": 1}
    return Row(model=model, metric=metric, value=value, **({"mode": "offline"} | given | more))


def test_a_file_holds_exactly_the_keys_and_comes_back(tmp_path):
    rows = [row(), row(metric="coverage_90", value=float("nan"), seed=None, mode="online")]
    path = write_results(tmp_path / "new" / "results.json", rows)
    items = json.loads(path.read_text())
    assert [list(item) for item in items] == [KEYS, KEYS]
    assert items[1]["value"] is None
    back = read_results(path)
    assert back[0] == rows[0]
    assert math.isnan(back[1].value) and back[1].key == rows[1].key
    write_results(path, [])
    assert read_results(path) == []


def test_rows_of_takes_whatever_float_takes():
    torch = pytest.importorskip("torch")
    facts = {"source": "ETTh1", "split": "test", "lookback": 96, "horizon": 96, "windows": 2785, "seed": 1}
    rows = rows_of({"mse": torch.tensor(0.5), "mae": 1}, model="demo", **facts, mode="offline")
    assert rows == [row(), row(metric="mae", value=1.0)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "Online"}, "online, fixed-lag or offline"),
        ({"mode": "live"}, "online, fixed-lag or offline"),
        ({"windows": 2.5}, "needs int"),
        ({"windows": True}, "needs int"),
        ({"seed": "1"}, "int or null"),
        ({"value": "0.5"}, "int or float"),
        ({"model": None}, "needs str"),
        ({"horizon": 0}, "1 or more"),
        ({"lookback": -1}, "0 or more"),
    ],
)
def test_bad_values_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        row(**given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "no JSON"),
        ("{}", "list of rows, this one a dict"),
        ("[1]", "row 0 is a int"),
        ('[{"model": "a"}]', "has exactly"),
        ("EXTRA", "has exactly"),
        ("MODE", "row 1: mode is 'live'"),
    ],
)
def test_a_spoilt_file_says_what_and_where(tmp_path, text, words):
    path = write_results(tmp_path / "results.json", [row(), row(metric="mae")])
    items = json.loads(path.read_text())
    items[1] |= {"EXTRA": {"note": ""}, "MODE": {"mode": "live"}}.get(text, {})
    path.write_text(json.dumps(items) if text.isupper() else text)
    with pytest.raises(ResultsError, match=words) as caught:
        read_results(path)
    assert str(path) in str(caught.value)


def test_a_full_disk_leaves_earlier_results(tmp_path, monkeypatch):
    path = write_results(tmp_path / "results.json", [row()])

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match=r"No space left.*as it was"):
        write_results(path, [row(value=9.0)])
    assert read_results(path) == [row()]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(ResultsError, match="could not be written"):
        write_whole(tmp_path / "runs" / "results.json", b"")


def test_a_result_is_readable_by_the_team(tmp_path):
    mask = os.umask(0o022)
    try:
        assert write_whole(tmp_path / "a", b"x").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)


def test_merge_replaces_rows_of_the_same_key():
    old = [row(value=1.0), row(metric="mae", value=2.0), row(seed=2, value=3.0)]
    assert merge_rows(old, [row(value=9.0, windows=7)]) == [row(value=9.0, windows=7), *old[1:]]


def test_the_table_marks_the_best_and_keeps_the_order():
    rows = [
        row("mine", "mae", 0.4),
        row("mine", "mse", 0.3801),
        row("mine", "coverage_90", 0.88),
        row("ridge", "mse", 0.3832, seed=None),
        row("ridge", "mae", 0.3917, seed=None),
        row("wide", "mse", 0.9, mode="online", lookback=336),
        row("wide", "coverage_90", 0.99, mode="online", lookback=336),
    ]
    assert table(rows).splitlines() == [
        "ETTh1, test, horizon 96, 2,785 windows",
        "model  lookback     mode     mse      mae   coverage_90",
        "--------------------------------------------------------",
        "mine         96  offline  0.3801*  0.4000        0.8800*",
        "ridge        96  offline  0.3832   0.3917*            -",
        "wide        336   online  0.9000        -        0.9900",
    ]


def test_seeds_become_mean_and_spread():
    rows = [row(value=v, seed=s) for s, v in enumerate((0.1, 0.2, 0.3))] + [row("ridge", value=0.25, seed=None)]
    text = table(rows)
    assert "0.2000 ± 0.1000*" in text
    assert text.splitlines()[1].split() == ["model", "lookback", "mode", "seeds", "mse"]
    assert [line.split()[3] for line in text.splitlines()[3:]] == ["3", "1"]


def test_other_windows_stand_in_another_part():
    text = table([row("a"), row("b", windows=100, value=0.1), row("a", horizon=192)])
    assert text.count("windows") == 3
    assert "*" not in text


def test_a_lone_or_absent_value_is_not_the_best():
    assert "*" not in table([row("a"), row("b", value=float("nan"))])
    assert table([]) == "no results"


def test_markdown():
    text = table([row("mine", value=0.3), row("ridge", value=0.4)], markdown=True)
    assert text.splitlines()[2:] == [
        "| model | lookback | mode | mse |",
        "| --- | ---: | --- | ---: |",
        "| mine | 96 | offline | **0.3000** |",
        "| ridge | 96 | offline | 0.4000 |",
    ]


def test_small_numbers_keep_digits_that_count():
    text = table([row(value=0.0002589), row("other", value=0.3)])
    assert "0.00026*" in text and "0.3000" in text


def test_consistency_is_best_nearest_to_one():
    rows = [row(model, "nees_position", value) for model, value in (("timid", 0.4), ("honest", 1.3), ("bold", 3.0))]
    assert "**1.3000**" in table(rows, markdown=True)


def test_a_test_leaves_rows_and_shows_them(tmp_path, capsys, monkeypatch):
    rows = [row()]
    show_results(tmp_path / "run", rows)
    assert read_results(tmp_path / "run" / "results.json") == rows and "0.5" in capsys.readouterr().out
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert seed_of_run() is None
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert seed_of_run() == 7
