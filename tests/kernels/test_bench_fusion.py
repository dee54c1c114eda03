"""The bench of fusion runs, gives every encoder the same work, and prints a ratio to concatenation."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).resolve().parents[2] / "kernels" / "bench_fusion.py"
SLOW = {"imu": 20, "wheel": 5, "lidar": 1, "camera": 1, "mag": 1, "gnss": 1}


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("bench_fusion", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


def test_moments_are_all_events_of_all_streams_in_order(bench):
    walked = list(bench.moments(1))
    assert sum(len(names) for _, names in walked) == sum(bench.RATES.values()) == 276
    assert sum(ns for ns, _ in walked) == 10**9 and walked[0][0] == 5_000_000
    assert walked[-1][1] == list(bench.RATES), "all streams measure at a full second"


def test_a_tiny_run_prints_and_writes(bench, monkeypatch, capsys, tmp_path):
    out = tmp_path / "fusion.json"
    tiny = "--seconds 1 --batch 1 --width 4 --layers 1 --repeats 1 --events 1 --json"
    monkeypatch.setattr(sys, "argv", [str(BENCH), *tiny.split(), str(out)])
    monkeypatch.setattr(bench, "RATES", SLOW)
    bench.main()
    printed = capsys.readouterr().out
    assert printed.count("| stream fusion ") == 2 and "steps/s" in printed and " us |" in printed
    written = json.loads(out.read_text())
    names = set(written["training_seconds"])
    assert names == set(written["event_seconds"]) and len(names) == 6
    assert all(len(spent) == 1 and spent[0] > 0 for spent in written["training_seconds"].values())


@pytest.mark.gpu
def test_on_a_gpu(bench, monkeypatch, capsys):
    tiny = "--device cuda --seconds 1 --batch 2 --width 8 --layers 1 --repeats 1 --events 0"
    monkeypatch.setattr(sys, "argv", [str(BENCH), *tiny.split()])
    bench.main()
    assert "event fusion" in capsys.readouterr().out
