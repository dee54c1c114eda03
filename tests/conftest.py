"""What every test shares: seeds, small machines, real data where it was given, GPU only where there is one."""

import os
from pathlib import Path

import pytest
import torch

try:  # a GPU machine may run `-m gpu` without the development extras
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:
    pass
else:
    # No deadline: a shared machine pauses any test now and then. Derandomised: a red run must be red again.
    settings.register_profile(
        "mambats", deadline=None, derandomize=True, max_examples=20, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("mambats")


def pytest_ignore_collect(collection_path, config):
    """Of `-m gpu`, import only files with such tests: others need packages that a GPU machine may not have."""
    if config.option.markexpr != "gpu" or collection_path.suffix != ".py" or collection_path.name == "conftest.py":
        return None
    return True if "mark.gpu" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device here")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_server_of_the_caller(monkeypatch):
    """No test writes into the MLflow server that the caller's shell names."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder named by MAMBATS_DATA (timeseries/, fusion/); tests on real data are skipped where it is not set."""
    root = os.environ.get("MAMBATS_DATA")
    if not root:
        pytest.skip("set MAMBATS_DATA to the folder that holds timeseries/ and fusion/")
    if not Path(root).is_dir():
        pytest.fail(f"MAMBATS_DATA is {root}, which is not a folder: name the one that holds timeseries/ and fusion/")
    return Path(root)
