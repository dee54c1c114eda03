"""Runs in MLflow: sqlite beside the runs by default, any server by one setting.

The one file that imports mlflow. What it settles, each found by trying:

- Plain file stores are refused by mlflow 3.17, so the default is sqlite, and the place of artifacts is set when an
  experiment is made (it is fixed from then on).
- System metrics are collected only for a run opened by `mlflow.start_run`.
- Lightning opens loggers before it reads the data; this one opens its run with the first thing to log, so a mistyped
  path leaves no failed run behind.
- A server that does not answer is found out in seconds, not after mlflow's two minutes of retries; one that goes away
  during training costs a warning, not the training.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

# mlflow's own 7 retries of 120 s each would hold a training for many minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
# MLflow refuses longer parameter values (500 since 1.28) and more than 100 in one call.
_PARAMETER_LENGTH = 500
_PARAMETERS_A_CALL = 100


class TrackingError(ValueError):
    """MLflow is not there, or its server does not answer."""


def installed() -> bool:
    """Say whether mlflow can be imported, without importing it."""
    return importlib.util.find_spec("mlflow") is not None


class MLflow(Logger):
    """Log a Trainer's run to MLflow: metrics, parameters, files, system metrics.

    Give it as an entry of `trainer.logger`; the command line fills in what is left at None.

    Args:
        experiment: Name of the experiment.
        tracking_uri: Address of the store (`http://host:5000`, `sqlite:///file.db`); where None, the environment's
            MLFLOW_TRACKING_URI, else sqlite in `folder`.
        folder: Folder for the default store: `mlflow.db` and `mlartifacts`.
        run_name: Name of the run.
        run_id: Id of a run to go on with, or None for a new one.
        system_metrics: Collect use of processor, memory and GPU (needs psutil).
        tags: Tags of the run.

    Raises:
        TrackingError: If mlflow is not installed.

    Example:
        Trainer(logger=MLflow(tracking_uri="http://127.0.0.1:5000"))
    """

    def __init__(
        self,
        experiment: str = "mambats",
        tracking_uri: str | None = None,
        folder: str | None = None,
        run_name: str | None = None,
        run_id: str | None = None,
        system_metrics: bool = True,
        tags: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        if not installed():
            raise TrackingError("mlflow is not installed. Install mambats[mlflow], or leave the logger out.")
        self.experiment_name = experiment
        self.tracking_uri, self.folder, self.run_name = tracking_uri, folder, run_name
        self.system_metrics, self.tags = system_metrics, tags
        self.run_id = run_id
        self._client: Any = None
        self._lost = False

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.experiment_name

    @property
    def version(self) -> str | None:
        """Id of the run, None before it is open."""
        return self.run_id

    @property
    def save_dir(self) -> str | None:
        """Nothing is saved locally through this logger."""
        return None

    @property
    def address(self) -> str:
        """Address of the store in use."""
        given = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        return given or f"sqlite:///{self._home / 'mlflow.db'}"

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Any, *args: Any, **kwargs: Any) -> None:
        """Log parameters, nested ones with dots; Lightning's private `_instantiator` and `_class_path` are left out."""
        flat = {k: v for k, v in _flatten(_as_mapping(params)).items() if not k.split(".")[-1].startswith("_")}

        def send(client: Any) -> None:
            from mlflow.entities import Param

            every = [Param(k, str(v)[:_PARAMETER_LENGTH]) for k, v in flat.items()]
            for first in range(0, len(every), _PARAMETERS_A_CALL):
                client.log_batch(self.run_id, params=every[first : first + _PARAMETERS_A_CALL])

        self._send(send)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of a step."""

        def send(client: Any) -> None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            every = [Metric(k.replace("@", "_at_"), float(v), now, step or 0) for k, v in metrics.items()]
            client.log_batch(self.run_id, metrics=every)

        self._send(send)

    @rank_zero_only
    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Tag the run: the data's fingerprint, the commit."""

        def send(client: Any) -> None:
            for key, value in tags.items():
                client.set_tag(self.run_id, key, value)

        self._send(send)

    @rank_zero_only
    def log_file(self, path: str | Path, under: str | None = None) -> None:
        """Keep a file, or a folder with its content, as an artifact; one that is not there is passed over."""
        file = Path(path)
        if file.is_dir():
            self._send(lambda client: client.log_artifacts(self.run_id, str(file), under))
        elif file.is_file():
            self._send(lambda client: client.log_artifact(self.run_id, str(file), under))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the run as finished or failed."""
        if self._client is None or self._lost:
            return
        import mlflow

        word = "FAILED" if status == "failed" else "FINISHED"
        active = mlflow.active_run()
        if active is not None and active.info.run_id == self.run_id:
            self._send(lambda _: mlflow.end_run(word))
        else:
            self._send(lambda client: client.set_terminated(self.run_id, word))

    @property
    def _home(self) -> Path:
        return Path(self.folder or "runs").absolute()

    def _send(self, call: Callable[[Any], None]) -> None:
        """Do a call; the first failure after the run was opened ends logging with one warning."""
        if self._lost:
            return
        client = self._open()
        from mlflow.exceptions import MlflowException

        try:
            call(client)
        except (MlflowException, OSError) as error:
            self._lost = True
            warnings.warn(
                f"MLflow at {self.address} failed ({_first_line(error)}): this run is logged no further there; "
                "metrics.csv, results.json and checkpoints go on.",
                stacklevel=2,
            )

    def _open(self) -> Any:
        """Open the run, once.

        Raises:
            TrackingError: If the store cannot be reached or used.
        """
        if self._client is not None:
            return self._client
        for key, value in _PATIENCE.items():
            os.environ.setdefault(key, value)
        import mlflow
        from mlflow.exceptions import MlflowException

        # Set after the import, which sets it anew: a line each time a monitor starts or stops is no news.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        _check_alive(self.address)
        if self.address.startswith("sqlite:///"):
            Path(self.address.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self.address)
        try:
            client = mlflow.MlflowClient(self.address)
            self.run_id = self._start(mlflow, client)
        except (MlflowException, OSError) as error:
            raise TrackingError(
                f"MLflow at {self.address} could not open a run: {_first_line(error)}. Check the address "
                "(tracking_uri or MLFLOW_TRACKING_URI), or leave the MLflow logger out: --trainer.logger=false."
            ) from error
        self._client = client
        return client

    def _start(self, mlflow: Any, client: Any) -> str:
        found = client.get_experiment_by_name(self.experiment_name)
        if found is None or found.lifecycle_stage == "deleted":
            # A server decides for itself where artifacts lie.
            own = None if self.address.startswith("http") else (self._home / "mlartifacts").as_uri()
            number = client.create_experiment(self.experiment_name, artifact_location=own)
        else:
            number = found.experiment_id
        known = self.run_id if self.run_id and _has_run(client, self.run_id) else None
        collect = self.system_metrics and importlib.util.find_spec("psutil") is not None
        run = mlflow.start_run(
            run_id=known,
            experiment_id=None if known else number,
            run_name=None if known else self.run_name,
            tags={**({"git_commit": commit} if (commit := git_commit()) else {}), **(self.tags or {})},
            log_system_metrics=collect,
            nested=mlflow.active_run() is not None,
        )
        return str(run.info.run_id)


def git_commit() -> str | None:
    """Return the commit of the folder one works in, with `+` where files were changed; None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")


def _check_alive(address: str) -> None:
    if not address.startswith("http"):
        return
    import requests

    try:
        answer = requests.get(f"{address.rstrip('/')}/health", timeout=10)
    except requests.RequestException as error:
        raise TrackingError(
            f"the MLflow server at {address} does not answer ({type(error).__name__}). Start it "
            "(mlflow server --host 127.0.0.1 --port 5000), correct tracking_uri or MLFLOW_TRACKING_URI, "
            "or leave it out for sqlite."
        ) from None
    if answer.status_code >= 500:
        raise TrackingError(f"the MLflow server at {address} answers {answer.status_code}. Look at its log.")


def _has_run(client: Any, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False


def _as_mapping(params: Any) -> Mapping[str, Any]:
    return params if isinstance(params, Mapping) else vars(params)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
