"""What a view writes is what Rerun's own reader finds in the file."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mambats.pictures.ellipsoid import ellipsoids, half_axes, quaternions
from mambats.pictures.rerun import StreamView
from mambats.pictures.rerun.viewer import start_viewer

SECOND = 10**9


def read(file: Path) -> dict[str, list]:
    """Chunks of a recording by path."""
    reader = pytest.importorskip("rerun.chunk").RrdReader(str(file))
    found: dict[str, list] = {}
    for chunk in reader.stream().to_chunks():
        found.setdefault(chunk.entity_path, []).append(chunk.to_record_batch())
    return found


def column(batches: list, word: str) -> list:
    """Values of the column whose name holds a word, over all chunks, in the order of time."""
    rows = []
    for batch in batches:
        for name in batch.schema.names:
            if word in name:
                rows += zip(batch.column("stamp").to_pylist(), batch.column(name).to_pylist(), strict=True)
    return [value for _, value in sorted(rows, key=lambda row: row[0])]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pytest.importorskip("rerun")
    return tmp_path / "deep" / "run.rrd"


def test_numbers_come_back_as_they_went_in(file: Path):
    with StreamView(file) as view:
        for k in range(700):  # more than are held back at once
            view.input("imu", k * SECOND // 100, [float(k), np.nan, 2.0])
        view.input("imu", 8 * SECOND, [1.0, 1.0, 1.0], fate="late")
        view.output(SECOND, {"forecast": np.ones((24, 3)), "speed": 0.5}, row=2)
        view.gaussian("place", SECOND, [1.0, 2.0], np.diag([4.0, 1.0]))
        view.state(SECOND, {"h": [3.0, -4.0, np.nan]})
        view.counters(SECOND, {"received": 5, "streams": {"imu": 5}})
        view.word(SECOND, "a gate closed", bad=True)
    found = read(file)
    rows = column(found["/inputs/imu"], "scalars")
    assert len(rows) == 700 and [row[0] for row in rows] == [float(k) for k in range(700)]
    assert np.isnan(rows[3][1])
    assert column(found["/inputs/imu/late"], "scalars") == [[1.0, 1.0, 1.0]]
    assert column(found["/outputs/speed/robot_2"], "scalars") == [[0.5]]
    assert len(column(found["/outputs/forecast/robot_2"], "scalars")[0]) == 16
    band = column(found["/estimates/place/0"], "scalars")[0]
    np.testing.assert_allclose(band, [1 - 2 * 1.96, 1, 1 + 2 * 1.96], atol=1e-3)
    np.testing.assert_allclose(column(found["/state/h"], "scalars")[0], [12.5**0.5, 4.0, 1.0])
    assert column(found["/counters/streams/imu"], "scalars") == [[5.0]]
    assert column(found["/log"], "text") == [["a gate closed"]]


def test_tracks_have_boxes_trails_ids_and_ellipsoids(file: Path):
    with StreamView(file) as view:
        for k in range(3):
            boxes = [[k, 2.0, 0.0, 4.0, 2.0, 1.5, 0.3], [9.0, k, 0.0, 1.0, 1.0, 1.8, 0.0]]
            view.tracks(k * SECOND, boxes, [4, 17], np.tile(np.diag([1.0, 4, 9, 1, 1, 1, 1]), (2, 1, 1)))
            view.boxes(k * SECOND, boxes[:1])
            view.points(k * SECOND, np.zeros((5, 3)))
            view.image(k * SECOND, np.zeros((20, 30, 3)))
            view.rectangles(k * SECOND, [[1, 2, 3, 4], [np.nan] * 4], ["a", "b"], [1, 2])
        view.tracks(3 * SECOND, np.zeros((0, 7)), [], np.zeros((0, 7, 7)))
    found = read(file)
    assert column(found["/scene/tracks"], "labels") == [["4", "17"]] * 3 + [[]]
    half = column(found["/scene/tracks/uncertainty"], "half_sizes")[0][0]
    np.testing.assert_allclose(sorted(half), np.sqrt(7.815 * np.array([1.0, 4, 9])), rtol=1e-6)
    assert [len(lines or []) for lines in column(found["/scene/tracks/trails"], "strips")] == [0, 2, 2, 0]
    assert len(column(found["/scene/lidar"], "positions")[0]) == 5
    assert column(found["/pictures/camera/tracks"], "labels")[0] == ["a"]


def test_what_is_not_finite_is_left_out(file: Path):
    boxes, spread = np.ones((3, 7)), np.tile(np.eye(7), (3, 1, 1))
    boxes[1, 0], spread[2, 0, 0] = np.nan, np.inf
    with StreamView(file) as view:
        view.tracks(0, boxes, [5, 6, 7], spread, words=["a", "b", "c"])
        view.boxes(0, boxes, words=["a", "b", "c"])
        view.state(0, {"h": [np.inf, np.nan]})
        view.gaussian("x", 0, [np.nan, 1.0], np.eye(2))
    found = read(file)
    assert column(found["/scene/tracks"], "labels") == [["a"]]
    assert column(found["/scene/detections"], "labels") == [["a", "c"]]
    assert column(found["/state/h"], "scalars")[0][2] == 2.0
    assert "/scene/x" not in found


def test_a_navigators_answer_is_a_robot_in_space(file: Path):
    turned = [0.0, 0.0, 0.5**0.5, 0.5**0.5]  # a quarter to the left
    with StreamView(file) as view:
        for k in range(4):
            place = [k, 1.0, 0.0] if k < 3 else [np.nan] * 3
            view.output(k * SECOND, {"position": place, "quaternion": turned, "covariance": np.eye(9)}, row=1)
    found = read(file)
    np.testing.assert_allclose(column(found["/scene/robot1"], "vectors")[0], [[0.0, 1.0, 0.0]], atol=1e-6)
    ways = column(found["/scene/robot1/way"], "strips")
    assert [len(line) for line in ways[2]] == [3] and len(ways) == 3
    assert len(column(found["/scene/position1"], "half_sizes")) == 3
    assert np.isnan(column(found["/outputs/position/robot_1"], "scalars")[3]).all()


def test_dates_and_every(file: Path):
    with StreamView(file, every=10) as view:
        for k in range(95):
            view.input("imu", 1_700_000_000 * SECOND + k, [k])
    rows = read(file)["/inputs/imu"]
    assert len(column(rows, "scalars")) == 10
    assert "timestamp" in str(rows[0].schema.field("stamp").type)


@pytest.mark.parametrize("to", ["run.txt", "", "lively"])
def test_where_it_goes_must_be_known(to: str):
    with pytest.raises(ValueError, match=r"FILE\.rrd, live or live:URL"):
        StreamView(to)


def test_shapes_are_checked_and_closing_twice_is_fine(file: Path, tmp_path: Path):
    with StreamView(file) as view:
        with pytest.raises(ValueError, match=r"\(N, 7\)"):
            view.boxes(0, [[1.0, 2.0]])
        with pytest.raises(ValueError, match="give one a box"):
            view.tracks(0, np.zeros((2, 7)), [1])
        with pytest.raises(ValueError, match=r"\(P, 3\)"):
            view.points(0, np.zeros((2, 4)))
        with pytest.raises(ValueError, match="covariance is"):
            view.gaussian("x", 0, [1.0], np.eye(2))
    view.close()
    (tmp_path / "taken").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        StreamView(tmp_path / "taken" / "run.rrd")


def test_without_rerun_it_says_what_to_install():
    code = (
        "import sys; sys.modules['rerun'] = None\n"
        "from mambats.pictures.rerun import StreamView\n"
        "assert not {'torch', 'matplotlib', 'polars'} & sys.modules.keys()\n"
        "try: StreamView('a.rrd')\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mambats[robot]" in done.stdout


def test_ellipsoids_turn_their_axes_back_into_the_covariance():
    random = np.random.default_rng(0)
    root = random.normal(size=(20, 3, 3))
    covariance = root @ root.swapaxes(1, 2)
    half, turn = half_axes(covariance)
    np.testing.assert_allclose((turn * half[:, None] ** 2 / 7.815) @ turn.swapaxes(1, 2), covariance, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turn), 1.0)
    x, y, z, w = quaternions(turn).T
    first = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)], axis=1)
    np.testing.assert_allclose(first, turn[:, :, 0], atol=1e-9)
    assert ellipsoids(np.zeros((2, 2)), np.tile(np.eye(2), (2, 1, 1)))[1].min() == 0.005


def bound(port: int) -> set[str]:
    """Addresses that a port is listened on at, from the kernel's table: an IPv4 one as it stands, last byte first."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        lines = Path(table).read_text().splitlines()[1:] if Path(table).is_file() else []
        for local, state in ((line.split()[1], line.split()[3]) for line in lines):
            address, number = local.split(":")
            if state == "0A" and int(number, 16) == port:
                found.add(address)
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="the table of sockets is Linux's")
def test_a_live_viewer_listens_to_this_machine_alone():
    pytest.importorskip("rerun")
    viewer, address = start_viewer(headless=True)
    try:
        port = int(address.split(":")[2].partition("/")[0])
        assert bound(port) == {"0100007F"}  # 127.0.0.1, and no other interface
    finally:
        viewer.kill()
        viewer.wait()
    with socket.socket() as everywhere:  # the test can fail: what listens everywhere is seen as such
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        assert bound(everywhere.getsockname()[1]) == {"00000000"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_without_a_display_live_is_refused(monkeypatch: pytest.MonkeyPatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    pytest.importorskip("rerun")
    with pytest.raises(ValueError, match=r"no display here.*FILE\.rrd"):
        StreamView("live")
