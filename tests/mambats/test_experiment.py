"""MLflow: sqlite without a setting, a real server with one, the run with its metrics, parameters and files."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path

import pytest

mlflow = pytest.importorskip("mlflow")

from mambats import experiment  # noqa: E402
from mambats.cli import main  # noqa: E402
from mambats.experiment import MLflow, TrackingError  # noqa: E402


@pytest.fixture(autouse=True)
def _own_mlflow(monkeypatch):
    """Leave no open run and no address behind."""
    monkeypatch.setattr(experiment, "_PATIENCE", {})
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    yield
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An sqlite store, made once: mlflow needs seconds to lay out its tables."""
    folder = tmp_path_factory.mktemp("store")
    logger = MLflow(folder=str(folder), system_metrics=False)
    logger.log_metrics({"warm": 1.0})
    logger.finalize("success")
    return folder


def logger_in(store, **options):
    return MLflow(folder=str(store), system_metrics=False, **options)


def test_sqlite_keeps_metrics_parameters_tags_and_files(store, tmp_path):
    logger = logger_in(store, run_name="mine")
    assert logger.version is None  # nothing is opened before there is something to say
    logger.log_hyperparams({"model": {"width": 8, "_instantiator": "os.system"}, "text": "x" * 900})
    logger.log_metrics({"val_mse": 0.5}, step=3)
    logger.log_metrics({"val_mse": 0.25}, step=4)
    logger.log_tags({"data_fingerprint": "abc"})
    (tmp_path / "results.json").write_text("[]")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_text("png")
    logger.log_file(tmp_path / "results.json")
    logger.log_file(tmp_path / "pictures", "pictures")
    logger.log_file(tmp_path / "missing.txt")
    logger.finalize("success")
    client = mlflow.MlflowClient(f"sqlite:///{store}/mlflow.db")
    run = client.get_run(logger.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "mine"
    assert run.data.params["model.width"] == "8" and len(run.data.params["text"]) == 500
    assert not any("_instantiator" in key for key in run.data.params)
    assert [m.value for m in client.get_metric_history(logger.run_id, "val_mse")] == [0.5, 0.25]
    assert run.data.tags["data_fingerprint"] == "abc"
    assert {f.path for f in client.list_artifacts(logger.run_id)} == {"results.json", "pictures"}
    assert list((store / "mlartifacts").rglob("a.png"))


def test_a_later_logger_goes_on_with_the_run(store):
    first = logger_in(store)
    first.log_metrics({"x": 1.0})
    first.finalize("success")
    second = logger_in(store, run_id=first.run_id)
    second.log_metrics({"y": 2.0})
    second.finalize("success")
    assert second.run_id == first.run_id
    run = mlflow.MlflowClient(f"sqlite:///{store}/mlflow.db").get_run(first.run_id)
    assert {"x", "y"} <= set(run.data.metrics)
    third = logger_in(store, run_id="0" * 32)
    third.log_metrics({"x": 1.0})
    assert third.run_id != "0" * 32


def test_a_failed_training_is_a_failed_run(store):
    logger = logger_in(store)
    logger.log_metrics({"x": 1.0})
    logger.finalize("failed")
    assert mlflow.MlflowClient(f"sqlite:///{store}/mlflow.db").get_run(logger.run_id).info.status == "FAILED"


def test_a_run_of_the_caller_stays_open(store):
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    with mlflow.start_run() as outer:
        logger = logger_in(store)
        logger.log_metrics({"x": 1.0})
        logger.finalize("success")
        assert logger.run_id != outer.info.run_id
        assert mlflow.active_run().info.run_id == outer.info.run_id


def test_a_server_that_does_not_answer_is_one_message():
    logger = MLflow(tracking_uri=f"http://127.0.0.1:{free_port()}")
    start = time.perf_counter()
    with pytest.raises(TrackingError, match=r"does not answer.*mlflow server --host"):
        logger.log_metrics({"x": 1.0})
    assert time.perf_counter() - start < 20


def test_a_store_that_fails_later_costs_a_warning_not_the_training(store, monkeypatch):
    logger = logger_in(store)
    logger.log_metrics({"x": 1.0})

    def gone(*_, **__):
        raise mlflow.exceptions.MlflowException("the server has gone")

    monkeypatch.setattr(logger._client, "log_batch", gone)
    with pytest.warns(UserWarning, match="the server has gone"):
        logger.log_metrics({"x": 2.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.log_metrics({"x": 3.0})
        logger.finalize("success")


def test_without_mlflow_there_is_a_word_and_no_failure(monkeypatch, capsys, tmp_path):
    from mambats.command import setup
    from mambats.command.run_folder import RunFolder

    monkeypatch.setattr(experiment, "installed", lambda: False)
    monkeypatch.setattr(setup, "installed", lambda: False)
    with pytest.raises(TrackingError, match="not installed"):
        MLflow()
    loggers = setup.loggers(None, RunFolder(tmp_path, "r"), "fit", None)
    assert [type(each).__name__ for each in loggers] == ["MetricsFile"]
    assert "MLflow is not installed" in capsys.readouterr().out


def test_the_address_comes_from_the_setting_then_the_environment_then_the_folder(monkeypatch, tmp_path):
    assert MLflow(folder=str(tmp_path)).address == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:1")
    assert MLflow(folder=str(tmp_path)).address == "http://there:1"
    assert MLflow(tracking_uri="http://here:2").address == "http://here:2"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    log = (tmp_path / "server.log").open("w")
    running = subprocess.Popen(
        [*command, *store], stdout=log, stderr=log, env={**os.environ, "PATH": path}, start_new_session=True
    )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((tmp_path / "server.log").read_text()[-2000:])
        yield address
    finally:
        # The whole session: the server starts workers of its own.
        os.killpg(running.pid, 15)
        running.wait(30)
        log.close()


@pytest.mark.slow
def test_a_real_server_holds_the_run_its_metrics_and_its_files(server, tmp_path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("tiny_run", Path(__file__).with_name("tiny_run.py"))
    tiny_run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny_run)
    recipe = tiny_run.write_run(tmp_path)
    words = ["--config", str(recipe), "--runs", str(tmp_path / "runs"), "--tracking_uri", server]
    # Long enough for the monitor of system metrics to take its samples.
    os.environ["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "1"
    os.environ["MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING"] = "1"
    try:
        assert main(["fit", *words, "--trainer.max_epochs", "20"]) == 0
    finally:
        del os.environ["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"]
        del os.environ["MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING"]
    assert main(["test", *words]) == 0
    client = mlflow.MlflowClient(server)
    found = client.get_experiment_by_name("mambats")
    (run,) = client.search_runs([found.experiment_id])  # the test went on with the run of the fit
    assert run.info.run_name == "tiny" and run.info.status == "FINISHED"
    assert {"train_loss", "val_mse", "test_mse"} <= set(run.data.metrics)
    assert any(name.startswith("system/") for name in run.data.metrics)
    assert run.data.params["data.init_args.lookback"] == "24"
    assert len(run.data.tags["data_fingerprint"]) == 64 and "git_commit" in run.data.tags
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "metrics.csv", "results.json", "pictures", "checkpoints"} <= kept
    assert "checkpoints/best.ckpt" in {f.path for f in client.list_artifacts(run.info.run_id, "checkpoints")}
