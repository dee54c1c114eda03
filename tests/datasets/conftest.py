import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "data"


@pytest.fixture
def make():
    """Give the maker of tiny fake files of a corpus."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"make_{name}", HERE / name / "make.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.make

    return load


@pytest.fixture
def claim():
    """Give a record that says the fake file is the published one."""
    return lambda record, path: replace(record, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(autouse=True)
def _no_data_of_the_shell(request, monkeypatch):
    if "data_root" not in request.fixturenames:
        monkeypatch.delenv("MAMBATS_DATA", raising=False)
