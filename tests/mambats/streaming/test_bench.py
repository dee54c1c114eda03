"""The bench of the stream runs and measures every row."""

import importlib.util
import json
from pathlib import Path

BENCH = Path(__file__).resolve().parents[3] / "datasets" / "bench_stream.py"


def test_a_tiny_run_measures_every_row(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("bench_stream", BENCH)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    words = ["--pushes", "5", "--windows", "2", "--robots", "2", "--output", str(tmp_path / "rows.json")]
    rows = bench.main(words)
    assert len(rows) == 5 and all(value > 0 for row in rows for name, value in row.items() if name != "what")
    assert json.loads((tmp_path / "rows.json").read_text())["rows"] == rows
    assert "push, in order" in capsys.readouterr().out
