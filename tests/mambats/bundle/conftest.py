"""Small forecasters, and a bundle without graphs, made in a moment: what reading and checking are tested on."""

import importlib.util
from pathlib import Path

import pytest

from mambats.bundle.export import bundle_files
from mambats.bundle.folder import manifest_of
from mambats.bundle.layout import MANIFEST
from mambats.bundle.rebuild import flat_of


@pytest.fixture(scope="session")
def tiny():
    spec = importlib.util.spec_from_file_location("tiny_forecaster", Path(__file__).with_name("tiny_forecaster.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def checkpoint(tiny, tmp_path_factory):
    return tiny.save(tiny.make_task(quantiles=(0.1, 0.5, 0.9)), tmp_path_factory.mktemp("bundle") / "best.ckpt")


@pytest.fixture(scope="session")
def files(checkpoint):
    return bundle_files(flat_of(checkpoint), checkpoint, {})


@pytest.fixture(scope="session")
def lay():
    def lay(folder, files):
        folder.mkdir()
        for name, body in {**files, MANIFEST: manifest_of(files)}.items():
            (folder / name).write_bytes(body)
        return folder

    return lay


@pytest.fixture
def bundle(lay, files, tmp_path):
    return lay(tmp_path / "bundle", files)
