"""Matrices in fewer bits: what is stored is what is computed, twice changes nothing, and the loss is told."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mambats.bundle import BundleDamagedError, BundleError, layout, loss, read_bundle
from mambats.bundle.bundle import read_arrays, write_arrays
from mambats.bundle.check import check_bundle
from mambats.bundle.export import bundle_files
from mambats.bundle.loss import loss_of, round_weights, told
from mambats.bundle.rebuild import arrays_of, flat_of
from mambats.bundle.weights import is_matrix, packed, rounded, to_int8, unpacked
from mambats.checkpoint import read_checkpoint, write_checkpoint, write_entry
from mambats.cli import main
from mambats.data import Table, WindowDataModule
from mambats.streaming.engines.library import missing

MATRICES = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e4, 1e4, width=32))


@settings(max_examples=50, deadline=None)
@given(MATRICES, st.sampled_from(["bf16", "int8"]))
def test_rounding_twice_is_rounding_once_and_storing_keeps_every_bit(matrix, stored):
    once = rounded(matrix, stored)
    assert np.array_equal(rounded(once, stored), once)
    name = "weight.model.head.project.weight"
    back = unpacked(packed({name: once}, stored))
    assert list(back) == [name] and back[name].tobytes() == once.tobytes()


@settings(max_examples=50, deadline=None)
@given(MATRICES)
def test_rounded_numbers_are_near(matrix):
    assert (np.abs(rounded(matrix, "bf16") - matrix) <= np.abs(matrix) * 2.0**-8 + 1e-38).all()
    whole, scale = to_int8(matrix)
    assert np.abs(whole.astype(int)).max() <= 127
    assert (np.abs(rounded(matrix, "int8") - matrix) <= 0.5 * scale[:, None] * 1.0001 + 2e-28).all()


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(loss, "_MOMENTS", 16)


def made(checkpoint, stored):
    model = flat_of(checkpoint)
    exact = arrays_of(flat_of(checkpoint))
    assert round_weights(model, stored) > 5
    losses = [loss_of(flat_of(checkpoint), model)]
    return model, exact, losses, bundle_files(model, checkpoint, {}, stored=stored, losses=losses)


@pytest.mark.parametrize("stored", ["bf16", "int8"])
def test_a_bundle_of_rounded_weights_gives_the_numbers_of_the_rounded_model(checkpoint, lay, tmp_path, stored, files):
    model, exact, (lost,), small = made(checkpoint, stored)
    bundle = lay(tmp_path / "small", small)
    assert max(check_bundle(bundle, ["torch", *([] if missing() else ["native"])]).values()) < 1e-5
    read = read_bundle(bundle)
    assert read.identity != json.loads(files[layout.CONFIG])["identity"]
    for name, array in arrays_of(model).items():
        kept = array.tobytes() == exact[name].tobytes()
        assert kept != (name.startswith("weight.") and is_matrix(name, array)), name
    assert len(small[layout.NATIVE]) < len(files[layout.NATIVE]) and len(small[layout.WEIGHTS]) < len(
        files[layout.WEIGHTS]
    )
    assert 1e-6 < lost["mean"] < lost["worst"] < 0.3
    lines = told(read.config["weights"])
    assert stored in lines[0] and "at worst" in lines[1] and lines[1] in small[layout.CARD].decode()


def test_int8_loses_more_than_bf16_and_float32_nothing(checkpoint):
    exact, losses = flat_of(checkpoint), {}
    for stored in ("float32", "bf16", "int8"):
        model = flat_of(checkpoint)
        round_weights(model, stored)
        losses[stored] = loss_of(exact, model)["mean"]
    assert losses["float32"] == 0 < losses["bf16"] < losses["int8"]
    assert told({"stored": "float32"}) == told({}) == []


def test_stored_matrices_without_their_scales_are_refused(checkpoint, lay, tmp_path):
    *_, small = made(checkpoint, "int8")
    stored = read_arrays(small[layout.WEIGHTS], "here")
    name = next(name for name in stored if name.startswith("scale."))
    without = {key: array for key, array in stored.items() if key != name}
    with pytest.raises(BundleDamagedError, match="no scale a row"):
        read_bundle(lay(tmp_path / "bundle", {**small, layout.WEIGHTS: write_arrays(without)}))
    with pytest.raises(ValueError, match="uint16"):
        unpacked({"bf16.weight.x.weight": np.zeros((2, 2), np.float32)})


def test_the_loss_on_test_rows_is_that_of_the_metrics_and_other_data_is_refused(tiny, tmp_path):
    draw = np.random.default_rng(0)
    lines = [f"2020-01-{1 + k // 24:02d}T{k % 24:02d}:00:00,{a:.3f},{b:.3f}" for k, (a, b) in
             enumerate(draw.normal((1, 10), (2, 3), (240, 2)))]  # fmt: skip
    (tmp_path / "rows.csv").write_text("\n".join(["time,a,b", *lines]) + "\n")
    source = {"class_path": "mambats.data.Table", "init_args": {"path": str(tmp_path / "rows.csv")}}
    init = {"source": source, "lookback": 24, "horizon": 3, "loading": {"eval_batch_size": 16}}
    recipe = {"data": {"class_path": "mambats.data.WindowDataModule", "init_args": init}}
    (tmp_path / "config.yaml").write_text(json.dumps(recipe))
    task = tiny.make_task(quantiles=(0.1, 0.5, 0.9))
    data = WindowDataModule(Table(tmp_path / "rows.csv"), 24, 3)
    data.setup("fit")
    task.scaler.load_state_dict(data.scaler.state_dict())
    saved = {"state_dict": task.state_dict(), "WindowDataModule": data.state_dict()}
    write_entry(saved, task, ("a", "b"), tiny.HOUR, source=data.name, fingerprint=data.fingerprint)
    write_checkpoint(saved, tmp_path / "best.ckpt")
    exact, model = flat_of(tmp_path / "best.ckpt"), flat_of(tmp_path / "best.ckpt")
    read = read_checkpoint(tmp_path / "best.ckpt")
    same = loss.test_loss_of(exact, model, tmp_path / "config.yaml", read)
    assert same["worst"] == 0 and all(before == after > 0 for before, after in same["scores"].values())
    round_weights(model, "int8")
    lost = loss.test_loss_of(exact, model, tmp_path / "config.yaml", read)
    assert 0 < lost["mean"] < lost["worst"] < 0.3 and lost["scores"]["mse"][0] == same["scores"]["mse"][0]
    assert lost["scores"]["crps"][0] != lost["scores"]["crps"][1]
    (tmp_path / "rows.csv").write_text("\n".join(["time,a,b", *lines[:-1]]) + "\n")
    with pytest.raises(BundleError, match="the checkpoint was trained on"):
        loss.test_loss_of(exact, model, tmp_path / "config.yaml", read)
    (tmp_path / "config.yaml").write_text("name: nothing\n")
    with pytest.raises(BundleError, match="names no WindowDataModule"):
        loss.test_loss_of(exact, model, tmp_path / "config.yaml", read)


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["bf16", "int8"])
def test_an_export_in_fewer_bits_is_verified_and_tells_its_loss(tiny, tmp_path, capsys, stored):
    pytest.importorskip("onnxscript")
    path = tiny.save(tiny.make_task(quantiles=(0.1, 0.5, 0.9)), tmp_path / "best.ckpt")
    words = ["export", "--checkpoint", str(path), "--weights", stored, "--output", str(tmp_path / "bundle")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"stored as {stored}" in said and "step.onnx" in said and "onnx prefill" in said
    assert max(check_bundle(tmp_path / "bundle").values()) < 1e-5
    assert main([*words[:-1], str(tmp_path / "other"), "--recipe", str(tmp_path / "none.yaml")]) == 2
    assert not (tmp_path / "other").exists()
