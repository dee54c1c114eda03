"""A bundle is data that is verified: every flip and every missing byte is found, nothing outside is ever read."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mambats.bundle import (
    BundleDamagedError,
    BundleError,
    BundleForeignError,
    BundleMissingError,
    BundleUnsafeError,
    ExportError,
    folder,
    layout,
    read_bundle,
)
from mambats.bundle.bundle import read_arrays, write_arrays
from mambats.bundle.check import check_bundle
from mambats.bundle.folder import manifest_of, read_files
from mambats.streaming.engines.library import missing


def test_it_gives_the_numbers_of_the_model(bundle):
    found = check_bundle(bundle, ["torch", *([] if missing() else ["native"])])
    assert 0 <= max(found.values()) < 1e-5
    assert read_bundle(bundle).engine("torch").identity == read_bundle(bundle).identity


def test_every_flipped_bit_is_found(bundle):
    draw, names = np.random.default_rng(0), sorted(path.name for path in bundle.iterdir())
    for trial in range(300):
        path = bundle / names[trial % len(names)]
        good = path.read_bytes()
        bad = bytearray(good)
        bad[draw.integers(len(bad))] ^= 1 << draw.integers(8)
        path.write_bytes(bad)
        try:
            with pytest.raises(BundleError) as caught:
                read_files(bundle)
            assert path.name in str(caught.value) or names[trial % len(names)] == layout.MANIFEST
        finally:
            path.write_bytes(good)
    read_bundle(bundle)


def test_every_truncation_is_found(bundle):
    for path in bundle.iterdir():
        good = path.read_bytes()
        for keep in {0, 1, len(good) // 2, len(good) - 1}:
            path.write_bytes(good[:keep])
            with pytest.raises(BundleError):
                read_files(bundle)
        path.write_bytes(good)


def test_what_is_missing_is_named(bundle, tmp_path):
    with pytest.raises(BundleMissingError, match="no such bundle"):
        read_bundle(tmp_path / "none")
    (bundle / layout.WEIGHTS).unlink()
    with pytest.raises(BundleMissingError, match=r"weights\.safetensors"):
        read_bundle(bundle)


def test_links_pipes_and_large_files_are_refused(bundle, tmp_path, monkeypatch):
    card = bundle / layout.CARD
    outside = tmp_path / "outside.md"
    outside.write_bytes(card.read_bytes())
    card.unlink()
    card.symlink_to(outside)
    with pytest.raises(BundleUnsafeError, match="is a link"):
        read_bundle(bundle)
    card.unlink()
    os.mkfifo(card)
    with pytest.raises(BundleUnsafeError, match="not a regular file"):
        read_bundle(bundle)
    card.unlink()
    card.write_bytes(outside.read_bytes())
    monkeypatch.setitem(folder.LIMITS, layout.CARD, 10)
    with pytest.raises(BundleUnsafeError, match="at most 10 are read"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "card.md/../x", "model.pkl", "manifest.json", ""])
def test_names_out_of_the_folder_are_refused_before_a_file_is_opened(bundle, files, name):
    listed = json.loads((bundle / layout.MANIFEST).read_bytes())
    listed["files"][name] = listed["files"][layout.CARD]
    _seal(bundle, listed)
    with pytest.raises(BundleUnsafeError, match="nothing else"):
        read_bundle(bundle)


def test_another_layout_or_kind_is_refused_with_the_versions(bundle, files, lay, tmp_path):
    listed = json.loads((bundle / layout.MANIFEST).read_bytes())
    _seal(bundle, {**listed, "format": 2, "mambats": "9.9"})
    with pytest.raises(BundleForeignError, match=r"layout 2 \(written by mambats '9.9'\).*reads layout 1"):
        read_bundle(bundle)
    config = json.loads(files[layout.CONFIG])
    other = lay(tmp_path / "kind", {**files, layout.CONFIG: json.dumps({**config, "kind": "oracle"}).encode()})
    with pytest.raises(BundleForeignError, match="'oracle'"):
        read_bundle(other)


def test_parts_of_two_exports_do_not_mix(files, lay, tmp_path):
    config = json.loads(files[layout.CONFIG])
    config["facts"]["period_ns"] *= 2
    mixed = lay(tmp_path / "mixed", {**files, layout.CONFIG: json.dumps(config).encode()})
    with pytest.raises(BundleDamagedError, match="not of one export"):
        read_bundle(mixed)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"format": 1}', b"[" * 100_000, b"\xff\xfe"])
def test_a_manifest_that_is_none_is_refused(bundle, body):
    (bundle / layout.MANIFEST).write_bytes(body)
    with pytest.raises(BundleError):
        read_bundle(bundle)


def test_a_model_off_by_a_hair_fails_its_check(bundle, files, lay, tmp_path):
    from safetensors.numpy import load, save

    recorded = load(files[layout.CHECK])
    recorded["forecast"] = recorded["forecast"] * np.float32(1.001)
    wrong = lay(tmp_path / "wrong", {**files, layout.CHECK: save(recorded)})
    with pytest.raises(ExportError, match="differs from the model"):
        check_bundle(wrong, ["torch"])


def test_the_manifest_is_of_what_it_lists(files):
    assert json.loads(manifest_of(files))["files"].keys() == files.keys()


def test_reading_and_running_load_nothing_heavy(bundle):
    code = (
        "import sys, mambats.cli, mambats.command.run, mambats.command.export\n"
        "from mambats.bundle import read_bundle\n"
        f"bundle = read_bundle({str(bundle)!r})\n"
        + ("" if missing() else "bundle.engine('native')\n")
        + "heavy = {'torch', 'lightning', 'polars', 'mlflow', 'onnxruntime', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def _seal(bundle, body):
    body = {name: value for name, value in body.items() if name != "sha256"}
    (bundle / layout.MANIFEST).write_text(json.dumps({**body, "sha256": folder._seal(body)}))


def test_turned_arrays_are_written_as_they_are_read():
    turned = np.arange(6.0).reshape(2, 3).T
    assert np.array_equal(read_arrays(write_arrays({"turned": turned}), "there")["turned"], turned)
