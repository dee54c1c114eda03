"""A whole export: graphs of every kind of model, held to it in a fresh process, run where nothing else is installed."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from mambats.bundle import BundleError, ExportError, layout, read_bundle
from mambats.bundle import export as module
from mambats.bundle.check import check_bundle
from mambats.bundle.export import export
from mambats.cli import main

for needed in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(needed)

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "quantiles", "mixing", "covariates"])
def test_graphs_of_every_kind_are_the_model(tiny, tmp_path, kind):
    arguments, data = tiny.KINDS[kind]
    path = tiny.save(
        tiny.make_task(**arguments), tmp_path / "best.ckpt", **({"WindowDataModule": data} if data else {})
    )
    found = export(path, tmp_path / "bundle", licence="CC0", purpose="tests")
    assert {"onnx", "onnx prefill"} <= found.keys() and max(found.values()) < 1e-5
    card = (tmp_path / "bundle" / layout.CARD).read_text()
    assert "CC0" in card and "tests" in card and "nowhere" in card and read_bundle(tmp_path / "bundle").identity in card
    body = b"".join(file.read_bytes() for file in (tmp_path / "bundle").iterdir())
    assert str(ROOT).encode() not in body and b"site-packages" not in body  # no path of this machine
    with pytest.raises(BundleError, match="is there already"):
        export(path, tmp_path / "bundle")


@pytest.mark.slow
def test_it_runs_where_there_is_no_torch(tiny, tmp_path):
    """In an environment with numpy, onnxruntime and safetensors alone: the same answers as here."""
    path = tiny.save(tiny.make_task(quantiles=(0.1, 0.5, 0.9)), tmp_path / "best.ckpt")
    bundle, source = tmp_path / "bundle", tmp_path / "in.csv"
    assert main(["export", "--checkpoint", str(path), "--output", str(bundle)]) == 0
    rows = [f"2020-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00,{hour % 7},{10 + hour % 5}" for hour in range(60)]
    source.write_text("\n".join(["time,a,b", *rows]) + "\n")
    assert main(["run", "--checkpoint", str(path), "--source", str(source), "--sink", str(tmp_path / "here.csv")]) == 0
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare" / "bin" / "python"
    got = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", "numpy", "onnxruntime", "safetensors"], check=False, text=True,
        capture_output=True,
    )  # fmt: skip
    if got.returncode:
        pytest.skip(f"no packages to install from here: {got.stderr[-200:]}")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "kernels", "datasets")),
    }
    for engine in ("onnx", "native"):
        words = ["run", "--bundle", str(bundle), "--engine", engine, "--source", str(source)]
        sink = tmp_path / f"{engine}.csv"
        subprocess.run([str(python), "-m", "mambats.cli", *words, "--sink", str(sink)], check=True, env=environment)
        found, wanted = (
            np.loadtxt(file, delimiter=",", skiprows=1, usecols=range(1, 25)) for file in (sink, tmp_path / "here.csv")
        )
        assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    heavy = "import sys, mambats.cli; assert not {'torch', 'polars', 'lightning', 'mlflow'} & set(sys.modules)"
    subprocess.run([str(python), "-c", heavy], check=True, env=environment)


@pytest.mark.slow
def test_a_graph_that_is_off_fails_the_export_and_leaves_nothing(tiny, tmp_path, monkeypatch):
    path = tiny.save(tiny.make_task(), tmp_path / "best.ckpt")
    other = tiny.make_task()
    other.model.head.project.weight.data += 0.01
    wrong = module.step_graph(module.flat_of(tiny.save(other, tmp_path / "other.ckpt")))
    monkeypatch.setattr(module, "step_graph", lambda _: wrong)
    with pytest.raises(ExportError, match="differs from the model"):
        export(path, tmp_path / "bundle", prefill=False)
    assert sorted(file.name for file in tmp_path.iterdir() if "bundle" in file.name) == []


@pytest.mark.slow
def test_weights_that_an_onnx_file_keeps_elsewhere_are_not_fetched(tiny, lay, files, tmp_path):
    """A graph that names another file for its weights must not read one out of the bundle."""
    import onnx

    path = tiny.save(tiny.make_task(quantiles=(0.1, 0.5, 0.9)), tmp_path / "best.ckpt")
    graph = onnx.load_from_string(module.step_graph(module.flat_of(path)))
    weight = next(weight for weight in graph.graph.initializer if len(weight.raw_data) > 100)
    (tmp_path / "secret").write_bytes(weight.raw_data)
    onnx.external_data_helper.set_external_data(weight, location="../secret", offset=0, length=len(weight.raw_data))
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    bundle = lay(tmp_path / "bundle", {**files, layout.STEP: graph.SerializeToString()})
    with pytest.raises(ValueError, match="cannot load the graph"):
        check_bundle(bundle, ["onnx"])


def test_what_cannot_be_exported_says_so_and_leaves_nothing(tmp_path, capsys):
    assert main(["export", "--checkpoint", str(tmp_path / "none.ckpt"), "--output", str(tmp_path / "bundle")]) == 2
    assert "no such checkpoint" in capsys.readouterr().err
    assert main(["export", "--output", "x"]) == 2
    assert not (tmp_path / "bundle").exists()


def test_the_fresh_process_speaks_json_and_loads_no_torch(bundle):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-m", "mambats.bundle.check", str(bundle)], capture_output=True, text=True, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0 and json.loads(done.stdout)["loaded"] == [], done.stderr
