"""`mambats run --tracker`: frames of detections from files, pipes and peers, tracks out; several sources at once."""

import io
import json
import sys

import numpy as np
import pytest

from mambats.cli import main
from mambats.command.report_tracks import add_tracks
from mambats.formats.error import DataError
from mambats.formats.kitti import read_detections
from mambats.pictures.page import Page
from mambats.streaming import Packet
from mambats.streaming.engines.frame import unpack_frame
from mambats.streaming.engines.tracker import tracker_engine
from mambats.streaming.sources import SourceOptions, open_source
from mambats.streaming.sources.several import LiveSources, Recordings, joined
from mambats.streaming.sources.wire import Wire
from mambats.track.kitti import from_kitti
from mambats.track.recipe import read_recipe
from mambats.track.telling import tell
from tests.mambats.streaming.toy import Leaky
from tests.mambats.track.test_command import RECIPES, lines

RECIPE = RECIPES / "kitti_car.yaml"


@pytest.fixture
def detections(tmp_path):
    (tmp_path / "0000.txt").write_text("\n".join(lines()) + "\n")
    return tmp_path / "0000.txt"


def messages(path):
    """Frames as a publisher would send them."""
    objects = from_kitti(read_detections(path)).of_class("Car")
    made = []
    for at, stamp in enumerate(objects.stamps.tolist()):
        rows = slice(*objects.splits[at : at + 2].tolist())
        table = np.column_stack([objects.boxes[rows].numpy(), objects.score[rows].numpy()])
        made.append(json.dumps({"stream": "detections", "stamp_ns": stamp, "boxes": table.tolist()}))
    return made


def run(source, sink, *more):
    words = ["--tracker", str(RECIPE), "--sink", str(sink), "--lateness", "0.3", "--every", "60"]
    return main(["run", *words, *(w for one in np.atleast_1d(source) for w in ("--source", str(one))), *more])


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_of_detections_gives_the_tracks_of_the_batch_run(detections, tmp_path, capsys):
    assert run(f"kitti:{detections}", tmp_path / "out.jsonl") == 0
    assert "20 packets" in capsys.readouterr().err
    objects = from_kitti(read_detections(detections)).of_class("Car")
    told = tell(read_recipe(RECIPE).tracker.run(objects), objects, "online")
    found = read(tmp_path / "out.jsonl")
    assert [one["stamp_ns"] for one in found] == objects.stamps.tolist()
    assert [i for one in found for i in one["identity"]] == told.identity.tolist() and len(told.identity) > 20
    for name, wanted in (("box", told.boxes), ("covariance", told.covariance), ("velocity", told.velocity)):
        mine = np.concatenate([np.reshape(one[name], (-1, *wanted.shape[1:])) for one in found])
        assert np.abs(mine - wanted.numpy()).max() < 1e-5 * wanted.abs().max()


def test_lines_of_a_pipe_or_file_are_the_same_in_any_order(detections, tmp_path, monkeypatch):
    run(f"kitti:{detections}", tmp_path / "whole.jsonl")
    given = messages(detections)
    mixed = [given[at ^ 1] for at in range(len(given))] + given[-2:]
    (tmp_path / "in.jsonl").write_text("\n".join(mixed) + "\n")
    assert run(tmp_path / "in.jsonl", tmp_path / "file.jsonl") == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(mixed) + "\n"))
    assert run("-", tmp_path / "pipe.jsonl") == 0
    wanted = read(tmp_path / "whole.jsonl")
    assert read(tmp_path / "file.jsonl") == read(tmp_path / "pipe.jsonl") == wanted


def test_two_files_at_once_are_one_stream(detections, tmp_path, capsys):
    given = messages(detections)
    for name, part in (("even", given[::2]), ("odd", given[1::2])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part) + "\n")
    run(f"kitti:{detections}", tmp_path / "whole.jsonl")
    assert run([tmp_path / "even.jsonl", tmp_path / "odd.jsonl"], tmp_path / "both.jsonl", "--lateness", "0") == 0
    assert read(tmp_path / "both.jsonl") == read(tmp_path / "whole.jsonl")
    capsys.readouterr()
    assert run([tmp_path / "even.jsonl", "-"], tmp_path / "no.jsonl") == 2
    assert "a table or standard input comes alone" in capsys.readouterr().err
    with pytest.raises(DataError, match="Name live sources together"):
        joined([_recorded(), _live()], ["a.jsonl", "zenoh:k"])
    live = joined([_live(), _live()], ["zenoh:a", "zenoh:b"])
    assert isinstance(live, LiveSources) and live.live and len({id(one.inbox) for one in live.sources}) == 1


def _live():
    pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed: live streams are not tested")
    return open_source("zenoh:robot/*", Leaky(), SourceOptions())


def _recorded():
    class Recorded:
        rows = 1

    return Recorded()


def test_errors_stay_where_they_stand_when_recordings_are_merged():
    class Part:
        rows = 2

        def __init__(self, items):
            self.items = items

        def packets(self):
            yield from self.items

    def packet(stamp):
        return Packet("a", stamp, np.zeros(1, np.float32))

    bad = DataError("bad")
    merged = Recordings([Part([packet(1), bad, packet(9)]), Part([packet(0), packet(2), packet(2)])])
    found = [item if item is bad else item.stamp_ns for item in merged.packets()]
    assert found == [0, 1, bad, 2, 2, 9] and merged.rows == 2


def test_boxes_on_the_wire():
    wire = Wire({"detections": 1 + 8 * 3, "imu": 9})

    def said(boxes, stream="detections", **more):
        return wire.packet("robot/x", json.dumps({"stream": stream, "stamp_ns": 5, "boxes": boxes, **more}).encode())

    one, bare = [1.0, 2, 3, 4, 2, 1.5, 0.1, 7.0], [1.0, 2, 3, 4, 2, 1.5, 0.1]
    found = said([one, one])
    frame = unpack_frame(found.values, np.isfinite(found.values))
    assert frame.boxes.shape == (2, 7) and frame.score.tolist() == [7, 7] and found.stamp_ns == 5
    assert unpack_frame(said([bare]).values, np.isfinite(said([bare]).values)).score is None
    empty = said([])
    assert empty.values.shape == (25,) and not empty.values.any()
    assert said([one] * 5).values[0] == 5  # the two that found no room are counted by the engine
    holed = said([[None, *one[1:]]])
    assert unpack_frame(holed.values, np.isfinite(holed.values)).refused == 1
    for boxes in (3, [3], [[1, 2]], [one, bare], [["a"] * 8], [[[1]] * 8], None, {"a": 1}):
        assert isinstance(said(boxes), DataError), boxes
    assert "boxes are for" in str(said([one], "imu")) and isinstance(said([one], values=[1]), DataError)


def test_what_cannot_be_run_is_said(detections, tmp_path, capsys):
    assert run(tmp_path / "in.csv", tmp_path / "out") == 2
    assert "FILE.jsonl or -" in capsys.readouterr().err
    with pytest.raises(DataError, match="Give --tracker"):
        open_source(f"kitti:{detections}", Leaky(), SourceOptions())
    pedestrian = tracker_engine(RECIPES / "kitti_pedestrian.yaml")
    with pytest.raises(DataError, match="follows 'Pedestrian'"):
        open_source(f"kitti:{detections}", pedestrian, SourceOptions())


def test_a_run_that_tracked_can_be_seen(detections, tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed: views are not tested")
    out, log = tmp_path / "out.jsonl", tmp_path / "log"
    assert run(f"kitti:{detections}", out, "--view", str(tmp_path / "run.rrd"), "--log", str(log)) == 0
    told = [json.loads(line)["outputs"] for line in (log / "outputs.jsonl").read_text().splitlines()]
    assert [len(one["identity"]) for one in told] == [int(one["count"]) for one in told]
    assert (tmp_path / "run.rrd").stat().st_size > 10_000


def test_the_page_of_a_run_that_tracked_shows_its_tracks(detections, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pages are not tested")
    log, page = tmp_path / "log", tmp_path / "page.html"
    assert run(f"kitti:{detections}", tmp_path / "out.jsonl", "--log", str(log)) == 0
    with (log / "outputs.jsonl").open("a") as file:
        file.write(
            '{"stamp_ns": 1, "outputs": {"identity": [1], "box": [1], "covariance": [], "detection": [0]}}\n{"to'
        )
    assert main(["report", str(log), "--output", str(page)]) == 0
    text = page.read_text()
    assert "<h2>Tracks</h2>" in text and "<b>2</b><span>tracks</span>" in text and "from above" in text
    assert text.count("<img") >= 4  # latency, from above, lives, counts of tracks
    assert "covariance: the first" not in text and '"class": "Car"' in text.replace("&quot;", '"')


def test_a_run_without_tracks_has_no_such_section(tmp_path):
    page = Page("run")
    (tmp_path / "outputs.jsonl").write_text('{"stamp_ns": 1, "outputs": {"position": [1, 2]}}\n')
    assert not add_tracks(page, tmp_path, 1) and not add_tracks(page, tmp_path / "none", 0)
    empty = '{"stamp_ns": %d, "outputs": {"identity": [], "box": [], "covariance": [], "detection": []}}\n'
    (tmp_path / "outputs.jsonl").write_text(empty % 1 + empty % 2)
    assert add_tracks(page, tmp_path, 2) and "no track was told of in 2 answers" in page.html()
