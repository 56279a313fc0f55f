"""A training on real digits, tracked by a real MLflow server; and one whose server is not there."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import uv
from flops_cli.demo import digits
from flops_mlrepo.host import guest_files
from mlflow.tracking import MlflowClient

from tests.integration.tracking.test_mlflow import free_port, mlflow_server
from tests.integration.training.stage import PROJECT, spec_of, staged

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("default")]
CODE = Path(__file__).parents[3] / "examples" / "digits-sklearn"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """An ML environment and a tracking folder, installed as the builder installs them."""
    folder = tmp_path_factory.mktemp("packages")
    mlenv, tracking = folder / "mlenv", folder / "tracking"
    for target, wanted in [
        (mlenv, ["scikit-learn", "datasets<4", "pillow"]),
        (tracking, ["mlflow-skinny>=3.17,<4", "pandas", "skops", "cloudpickle"]),
    ]:
        subprocess.run(
            [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--target", target, *wanted],
            check=True,
        )
    for path, source in guest_files():
        (mlenv / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, mlenv / path)
    return mlenv, tracking


def digits_data(folder):
    (folder / "digits").mkdir(parents=True)
    digits.write(folder / "digits" / "digits.parquet")
    return folder


def digits_spec(uri, **more):
    return spec_of(tracking_uri=uri, min_available_clients=2, data_tags=["digits"], **more)


async def test_digits_become_one_run_and_the_best_model(tmp_path, packages):
    (tmp_path / "mlflow").mkdir()
    with mlflow_server(tmp_path / "mlflow", free_port()) as uri:
        data = digits_data(tmp_path / "digits-data")
        async with staged(tmp_path, CODE, packages=packages, data=data, spec=digits_spec(uri)) as stage:
            stage.start_all()
            end = await stage.ended(180)
            assert end.state == "done", stage.story()
            result = end.training
            assert result.tracked, stage.story()
            reports = {report.round: report for _, report in stage.rounds}
            assert sum(status[-1].rows for status in stage.learner.values()) == 1797

            client = MlflowClient(uri)
            run = client.get_run(result.mlflow_run)
            assert run.info.run_name == PROJECT
            assert run.info.status == "FINISHED"
            assert run.data.tags["mesh.flops.commit"] == "1" * 40
            assert run.data.tags["mesh.flops.learner-nodes"] == "node-1"
            assert run.data.params["strategy"] == "FedAvg"
            history = client.get_metric_history(result.mlflow_run, "accuracy")
            told = {number: report.metrics.accuracy for number, report in reports.items()}
            assert {point.step: point.value for point in history} == pytest.approx(told)

            (model,) = client.search_logged_models([result.experiment_id])
            assert model.model_uri == result.model_uri
            of_model = {metric.key: (metric.step, metric.value) for metric in model.metrics}
            assert of_model["accuracy"] == (result.best.round, pytest.approx(result.best.accuracy))
            mlflow.set_tracking_uri(uri)
            loaded = mlflow.pyfunc.load_model(result.model_uri)
            assert loaded.metadata.signature is not None
            from sklearn.datasets import load_digits

            samples = load_digits()
            columns = loaded.metadata.signature.inputs
            assert columns is not None
            found = mlflow.sklearn.load_model(result.model_uri).predict(samples.data / 16)
            assert np.mean(found == samples.target) > 0.85


async def test_mlflow_that_comes_late_gets_everything(tmp_path, packages):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    data = digits_data(tmp_path / "digits-data")
    spec = digits_spec(uri)
    async with staged(tmp_path, CODE, packages=packages, data=data, spec=spec, tracking_seconds=1) as stage:
        stage.start_all()
        end = await stage.ended(120)
        assert end.state == "done", stage.story()
        assert not end.training.tracked
        assert ("aggregator", "FLOPS-T015") in stage.codes
        assert not any(report.fatal for _, report in stage.errors)
        (tmp_path / "mlflow").mkdir()
        with mlflow_server(tmp_path / "mlflow", port):
            await stage.until(lambda: stage.aggregator[-1].training.tracked, 90)
            result = stage.aggregator[-1].training
            client = MlflowClient(uri)
            history = client.get_metric_history(result.mlflow_run, "loss")
            assert sorted(point.step for point in history) == [1, 2, 3]
            assert client.get_run(result.mlflow_run).info.status == "FINISHED"
            assert result.model_uri is not None


async def test_an_aggregator_killed_in_training_continues_the_same_run(tmp_path, packages):
    (tmp_path / "mlflow").mkdir()
    with mlflow_server(tmp_path / "mlflow", free_port()) as uri:
        data = digits_data(tmp_path / "digits-data")
        spec = digits_spec(uri, training_rounds=40)
        async with staged(tmp_path, CODE, packages=packages, data=data, spec=spec) as stage:
            stage.start_all()
            await stage.until(lambda: len(stage.rounds) >= 3, 120)
            await stage.kill("aggregator", signal.SIGKILL)
            stage.start("aggregator", "aggregator")
            end = await stage.ended(120)
            assert end.state == "done", stage.story()
            assert end.training.tracked, stage.story()
            client = MlflowClient(uri)
            (run,) = client.search_runs([end.training.experiment_id])
            history = client.get_metric_history(run.info.run_id, "accuracy")
            assert sorted({point.step for point in history}) == list(range(1, 41))
