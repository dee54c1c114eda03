"""`mambats evaluate track`."""

import json

import pytest

from mambats.cli import main
from tests.mambats.track.metrics.sequences import write_sequences


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    labels, tracks = write_sequences(tmp_path_factory.mktemp("made"))
    return ["evaluate", "track", "--labels", str(labels), "--tracks", str(tracks)]


def test_table(folders, capsys):
    assert main([*folders, "--classes", "car,pedestrian,cyclist", "--mode", "online"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("2 sequences, 70 frames, similarity iou_2d, match from 0.5, online\n")
    table = text.split("\n\n")[1].splitlines()
    assert table[0] == "TrackEval"
    assert table[1].split()[:4] == ["class", "HOTA", "DetA", "AssA"]
    assert table[2].split()[:4] == ["Car", "55.57", "59.90", "51.64"]  # as TrackEval has it, see golden.json
    assert [line.split()[0] for line in table[2:]] == ["Car", "Pedestrian", "Cyclist"]
    assert "AB3DMOT\nclass       sAMOTA" in text


def test_json(folders, capsys):
    assert main([*folders, "--similarity", "centre", "--sequences", "0001", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == "not scored, for want of labels or not asked for: 0000\n"
    found = json.loads(said.out)
    assert list(found) == ["title", "TrackEval", "AB3DMOT", "nuScenes"]
    assert 0 < found["nuScenes"]["Cyclist"]["AMOTA"] < 1
    assert found["TrackEval"]["Car"]["TP"] > 50


def test_a_class_without_labels_has_no_score(tmp_path, capsys):
    row = "0 7 Car 0 0 -10 100 50 200 90 1.5 1.6 4 2 1.7 20 0.3 1\n"
    for place in ("labels", "tracks"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "0000.txt").write_text(row)
    words = ["evaluate", "track", "--labels", str(tmp_path / "labels"), "--tracks", str(tmp_path / "tracks")]
    assert main([*words, "--similarity", "3d"]) == 0
    rows = {line.split()[0]: line.split()[1:5] for line in capsys.readouterr().out.split("\n\n")[1].splitlines()[1:]}
    assert rows["Car"] == ["100.00"] * 4
    assert rows["Cyclist"] == ["-"] * 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "tram"], "unknown classes tram: there are car, pedestrian, cyclist"),
        (["--classes", ""], "no class is named"),
        (["--threshold", "0"], "--threshold is 0, needed a similarity above 0"),
        (["--similarity", "4d"], "evaluate track: argument --similarity: invalid choice: '4d'"),
        (["--sequences", "0009"], "has no sequence 0009"),
        (["--seqmap", "nowhere"], "nowhere: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_message(folders, words, message, capsys):
    assert main([*folders, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_row_that_cannot_be_used_is_named(tmp_path, capsys):
    labels, tracks = write_sequences(tmp_path)
    with (tracks / "0001.txt").open("a") as file:
        file.write("29 1 Car 0 0 -10 1 2 3\n")
    assert main(["evaluate", "track", "--labels", str(labels), "--tracks", str(tracks)]) == 2
    lines = len((tracks / "0001.txt").read_text().splitlines())
    assert f"0001.txt, line {lines}: has 9 columns" in capsys.readouterr().err
