"""`mambats report`: the page shows what a run left, escapes it, and asks nothing of a network."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mambats.cli import main
from mambats.pictures.page import Page
from mambats.pictures.stream import draw_curves, draw_latency, duration
from mambats.results import Row, write_results
from mambats.streaming.log import Latency, RunLog

pytest.importorskip("matplotlib")
COUNTERS = {
    "received": 60, "used": 58, "late": 2,
    "streams": {"imu": {"received": 50, "used": 50}, "<script>x</script>": {"received": 10, "used": 8, "late": 1}},
}  # fmt: skip
ALLOWED = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "b", "span", "table", "tr", "th",
           "td", "pre", "figure", "img", "figcaption"}  # fmt: skip


class Reader(HTMLParser):
    """Tags, words and addresses of a page; every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    given = {"bundle": "b", "password": "hunter2", "source": "mqtt://me:hunter2@host/x", "note": "<b>&amp;"}
    with RunLog(tmp_path / "run", given) as log:
        for k in range(50):
            log.output(k * 10**7, {"place": [k, -k], "forecast": np.ones((6, 5))}, latency_us=40.0 + k)
            if k % 10 == 0:
                log.counters(k * 10**7, {"received": k, "used": k})
        log.counters(5 * 10**8, COUNTERS)
    return tmp_path / "run"


def page(source: Path, output: Path) -> str:
    assert main(["report", str(source), "--output", str(output)]) == 0
    return output.read_text(encoding="utf-8")


def test_a_stream_run_has_its_numbers_and_pictures(folder: Path, tmp_path: Path) -> None:
    text = page(folder, tmp_path / "deep" / "page.html")
    read = Reader(text)
    assert read.tags <= ALLOWED
    assert all(re.match(r"data:image/(png|svg\+xml);base64,", source) for source in read.sources)
    assert len(read.sources) == 4  # latency, counters, two outputs
    words = "".join(read.words)
    assert "stream <script>x</script>: 1 packets have no fate." in words and "<script" not in text
    assert "hunter2" not in text and "(hidden)" in words and '"<b>&amp;"' in words
    assert "forecast: the first 8 of its 30 numbers" in words
    assert re.search(r"6[2-6]\.\d µs", words), "the median of 40 to 89"
    assert "default-src 'none'" in text and not re.search(r"https?://(?!www\.w3\.org)", text)


def test_counters_alone_make_a_page(folder: Path, tmp_path: Path) -> None:
    words = "".join(Reader(page(folder / "counters.json", tmp_path / "p.html")).words)
    assert "not all" in words and "60" in words
    (folder / "counters.json").write_text(json.dumps({"received": 3, "used": 3, "deep": {"a": 1, "b": {"c": 2}}}))
    assert "not all" not in "".join(Reader(page(folder / "counters.json", tmp_path / "p.html")).words)


def test_a_trained_run_has_recipe_results_and_pictures(tmp_path: Path) -> None:
    from PIL import Image

    run = tmp_path / "run"
    (run / "pictures").mkdir(parents=True)
    (run / "config.yaml").write_text("model: x # <tag>\nlogger:\n  api_token: abc\n")
    Image.new("RGB", (4, 4)).save(run / "pictures" / "a<b>.png")
    write_results(run / "results.json", [Row("mamba", "etth1", "test", 96, 24, "mse", 0.41, 10, 0, "online")])
    read = Reader(page(run, tmp_path / "p.html"))
    words = "".join(read.words)
    assert "0.41" in words and "# <tag>" in words and "abc" not in words and "a<b>.png" in words
    assert len(read.sources) == 1
    (run / "metrics.csv").write_text("step,train_loss,val_loss\n1,0.5,\n2,0.4,0.6\n")
    assert len(Reader(page(run, tmp_path / "p.html")).sources) == 2
    (run / "metrics.csv").write_text("step\n1\n")
    assert len(Reader(page(run, tmp_path / "p.html")).sources) == 1


@pytest.mark.parametrize("name", ["empty", "missing", "broken.json"])
def test_what_is_no_run_is_refused_and_nothing_is_written(name: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.json").write_text('{"used": ')
    assert main(["report", str(tmp_path / name), "--output", str(tmp_path / "p.html")]) == 2
    assert name in capsys.readouterr().err and not (tmp_path / "p.html").exists()


def test_a_run_that_was_killed_at_once_still_has_a_page(tmp_path: Path) -> None:
    RunLog(tmp_path / "run", {"engine": "native"})
    assert "native" in page(tmp_path / "run", tmp_path / "p.html")


def test_pictures_of_a_page_are_pictures() -> None:
    with pytest.raises(ValueError, match="no PNG"):
        Page("x").picture(b"<script>", "x")
    with pytest.raises(ValueError, match="no row"):
        draw_curves(np.zeros(0, np.int64), {}, label="x")
    with pytest.raises(ValueError, match="no latency"):
        draw_latency(Latency().edges, Latency().counts, {})
    one = Latency()
    one.add(5.0)
    assert draw_latency(one.edges, one.counts, {"50 %": 5.0}).startswith(b"<?xml")
    curve = draw_curves(np.array([5]), {"a": np.array([np.nan])}, label="x <y>")
    assert curve == draw_curves(np.array([5]), {"a": np.array([np.nan])}, label="x <y>") and b"x &lt;y&gt;" in curve


@pytest.mark.parametrize(
    ("microseconds", "words"),
    [(0.0, "0.00 µs"), (41.23, "41.2 µs"), (22_100.0, "22.1 ms"), (1e8, "100 s"), (3e9, "50.0 min"),
     (1.44e12, "16.7 days"), (8.1e9, "2.25 hours"), (float("nan"), "-")],
)  # fmt: skip
def test_durations_have_three_digits_in_a_unit_that_suits(microseconds: float, words: str) -> None:
    assert duration(microseconds) == words


@pytest.mark.slow
def test_a_browser_shows_the_page(folder: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no headless Chromium here")
    page(folder, tmp_path / "p.html")
    shot = tmp_path / "shot.png"
    words = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1150,2400"]
    subprocess.run([*words, f"--screenshot={shot}", (tmp_path / "p.html").as_uri()], check=True, timeout=120)
    from PIL import Image

    with Image.open(shot) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    for colour in ((0x9C, 0xC9, 0xE3), (0x00, 0x72, 0xB2), (0xFD, 0xF3, 0xEC)):  # histogram, curve, warning
        assert (np.abs(pixels - colour).sum(2) < 8).sum() > 200
