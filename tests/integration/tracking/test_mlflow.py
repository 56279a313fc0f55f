"""Tracking on a real MLflow server: one run, metrics by round, the best model; and nothing lost when it is down."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import mlflow
import numpy as np
import pytest
from flops_aggregator.tracking.journal import EndEntry, Journal, ModelEntry, RoundEntry, RunEntry
from flops_aggregator.tracking.supervisor import command, open_tracking
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LogisticRegression

SITE = Path(sysconfig.get_paths()["purelib"])
"""Stands for the image's tracking folder: mlflow is installed here."""
ACCURACY = [0.5, 0.75, 0.625]
pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("default")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    store = [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    listen = ["--serve-artifacts", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    lean = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *listen],
            env=os.environ | lean,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def save_model(folder: Path) -> None:
    model = LogisticRegression()
    model.classes_ = np.array([0, 1])
    model.coef_, model.intercept_ = np.array([[1.0, -1.0]]), np.array([0.0])
    example = np.array([[1.0, 0.0]])
    signature = mlflow.models.infer_signature(example, model.predict(example))
    mlflow.sklearn.save_model(model, folder, signature=signature)


async def record_training(folder: Path, uri: str, *, wait: float) -> bool:
    async with open_tracking(folder, uri, SITE) as tracking:
        await tracking.record(RunEntry("digits-1", "digits", {"commit": "c0ffee"}, {"strategy": "FedAvg"}))
        for number, accuracy in enumerate(ACCURACY, start=1):
            await tracking.record(RoundEntry(number, {"accuracy": accuracy, "loss": 1 - accuracy}))
        await anyio.to_thread.run_sync(save_model, tracking.folder / "model")
        await tracking.record(ModelEntry("model", "sklearn", 2, {"accuracy": 0.75, "loss": 0.25}, {"commit": "c0ffee"}))
        return (await tracking.finish(EndEntry("FINISHED"), wait)).finished


def assert_logged_once(uri: str, journal: Journal) -> None:
    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'digits'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "digits-1"
    assert run.info.status == "FINISHED"
    assert run.data.tags["commit"] == "c0ffee"
    assert run.data.params == {"strategy": "FedAvg"}
    history = client.get_metric_history(run.info.run_id, "accuracy")
    assert sorted((point.step, point.value) for point in history) == list(enumerate(ACCURACY, start=1))

    (model,) = client.search_logged_models([experiment.experiment_id])
    assert model.source_run_id == run.info.run_id
    assert {metric.key: (metric.step, metric.value) for metric in model.metrics} == {
        "accuracy": (2, 0.75),
        "loss": (2, 0.25),
    }
    assert journal.progress.model_uri == model.model_uri
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.sklearn.load_model(model.model_uri)
    assert loaded.predict(np.array([[3.0, 1.0], [1.0, 3.0]])).tolist() == [1, 0]
    assert mlflow.models.get_model_info(model.model_uri).signature is not None


async def test_a_training_is_logged_once_however_often_it_is_tracked(tmp_path: Path) -> None:
    with mlflow_server(tmp_path, free_port()) as uri:
        assert await record_training(tmp_path / "journal", uri, wait=90)
        # A tracker that was killed just before it noted how far it was does everything again.
        (tmp_path / "journal" / "progress.json").unlink()
        await anyio.run_process(command(tmp_path / "journal", uri, SITE, follow=False))
        await anyio.to_thread.run_sync(assert_logged_once, uri, Journal(tmp_path / "journal"))


async def test_mlflow_down_during_training_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    assert not await record_training(tmp_path / "journal", uri, wait=1)
    left = Journal(tmp_path / "journal").progress
    assert left.done == 0

    once = command(tmp_path / "journal", uri, SITE, follow=False)
    still_down = await anyio.run_process(once, check=False)
    assert still_down.returncode == 1
    assert "ConnectionError" in str(Journal(tmp_path / "journal").progress.error) or "Max retries" in str(
        Journal(tmp_path / "journal").progress.error
    )

    with mlflow_server(tmp_path, port):
        # Nobody wakes it, and nobody has to: it tries again by itself until the server has come up.
        follow = command(tmp_path / "journal", uri, SITE, follow=True)
        with anyio.fail_after(90):
            async with await anyio.open_process(follow) as tracker:
                assert await tracker.wait() == 0
        await anyio.to_thread.run_sync(assert_logged_once, uri, Journal(tmp_path / "journal"))


async def test_without_mlflow_nothing_is_started_and_nothing_waited_for(tmp_path: Path) -> None:
    async with open_tracking(tmp_path, None, SITE) as tracking:
        with anyio.fail_after(5):
            await tracking.record(RoundEntry(1, {"loss": 1.0}))
            progress = await tracking.finish(EndEntry("FINISHED"), 60)
    assert not progress.finished
    assert len(Journal(tmp_path).entries()) == 2
