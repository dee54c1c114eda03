"""The bench of fusion runs, gives every encoder the same work, and prints a ratio to concatenation."""

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "kernels" / "bench_fusion.py"


def test_moments_are_all_events_of_all_streams_in_order():
    bench = runpy.run_path(str(BENCH))
    walked = list(bench["moments"](1))
    assert sum(len(names) for _, names in walked) == sum(bench["RATES"].values()) == 276
    assert sum(ns for ns, _ in walked) == 10**9 and walked[0][0] == 5_000_000
    assert walked[-1][1] == list(bench["RATES"]), "all streams measure at a full second"


def test_a_tiny_run_prints_and_writes(monkeypatch, capsys, tmp_path):
    out = tmp_path / "fusion.json"
    tiny = "--seconds 1 --batch 1 --width 4 --layers 1 --repeats 1 --events 1 --json"
    monkeypatch.setattr(sys, "argv", [str(BENCH), *tiny.split(), str(out)])
    runpy.run_path(str(BENCH), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.count("| stream fusion ") == 2 and "steps/s" in printed and " us |" in printed
    written = json.loads(out.read_text())
    names = set(written["training_seconds"])
    assert names == set(written["event_seconds"]) and len(names) == 6
    assert all(len(spent) == 1 and spent[0] > 0 for spent in written["training_seconds"].values())


@pytest.mark.gpu
def test_on_a_gpu(monkeypatch, capsys):
    tiny = "--device cuda --seconds 1 --batch 2 --width 8 --layers 1 --repeats 1 --events 0"
    monkeypatch.setattr(sys, "argv", [str(BENCH), *tiny.split()])
    runpy.run_path(str(BENCH), run_name="__main__")
    assert "event fusion" in capsys.readouterr().out
