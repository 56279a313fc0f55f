"""`flops up`: what it leaves behind, and what it survives."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flops_cli.mesh.services import mosquitto

from tests.e2e.harness import FIXTURES, NUMPY, Up, eventually, repository, share, sla

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
PLAIN = (FIXTURES / "plain" / "model_manager.py").read_text()
SLOW = NUMPY | {
    "model_manager__py": PLAIN.replace(
        "    def fit_model(self):\n", "    def fit_model(self):\n        import time; time.sleep(0.5)\n"
    )
}
ROUNDS = 12


@pytest.fixture
def make_up(tmp_path: Path, numbers: Path, shared: Path) -> Iterator[Callable[..., Up]]:
    """Starts meshes on one state folder; whatever still runs at the end is killed and counts as a failure."""
    made: list[Up] = []

    def make(*options: str) -> Up:
        up = Up(tmp_path / "state", list(options))
        if not made:
            share(up.state, shared)
            assert up.flops("data", "add", "--tag", "numbers", str(numbers)).code == 0
        made.append(up)
        return up.start()

    yield make
    for up in made:
        assert up.process is not None
        if up.process.poll() is None:
            up.end()
    left = made[0].left()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
    shutil.rmtree(made[0].state)


def start_training(up: Up, tmp_path: Path) -> str:
    """Submits a slow project, and returns when its second round is done."""
    url = repository(FIXTURES / "plain", tmp_path / "repository", **SLOW)
    done = up.flops("submit", "-", "--json", stdin=json.dumps(sla(url, rounds=ROUNDS)))
    assert done.code == 0, done.err
    project: str = done.document["project"]
    wait_for_round(up, project, 2)
    return project


def wait_for_round(up: Up, project: str, number: int) -> None:
    def reached() -> bool:
        lines = up.flops("history", project, "--json").document
        assert "failed" not in [line["stage"] for line in lines], lines[-1]
        return sum(line["stage"] == "training" and "ound" in line["text"] for line in lines) >= number

    eventually(reached, 60, f"round {number}")


def end_of(up: Up, project: str) -> dict[str, Any]:
    done = up.flops("watch", project, "--json", timeout=120)
    assert done.code == 0, f"{done.out}\n{done.err}"
    status: dict[str, Any] = done.documents[-1]["status"]
    return status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_mid_training_leaves_nothing(
    number: signal.Signals, make_up: Callable[..., Up], tmp_path: Path
) -> None:
    up = make_up("--no-mlflow")
    start_training(up, tmp_path)
    assert len(up.left()) >= 5
    assert up.end(number) == 0
    assert up.left() == []


def test_restart_in_mid_training_goes_on(make_up: Callable[..., Up], tmp_path: Path) -> None:
    up = make_up("--no-mlflow")
    project = start_training(up, tmp_path)
    assert up.end() == 0
    again = make_up("--no-mlflow")
    status = end_of(again, project)
    assert status["training"]["rounds"] == ROUNDS
    assert status["attempt"] == 1
    rounds = [line["text"] for line in again.flops("history", project, "--json").document if "ound" in line["text"]]
    assert len(rounds) == len(set(rounds)), rounds


def test_killed_up_is_cleaned_up_by_the_next(make_up: Callable[..., Up], tmp_path: Path) -> None:
    up = make_up("--no-mlflow")
    project = start_training(up, tmp_path)
    up.end(signal.SIGKILL)
    assert up.left() != []
    again = make_up("--no-mlflow")
    assert again.ready["broker"] == up.ready["broker"]
    assert end_of(again, project)["training"]["rounds"] == ROUNDS


def test_broker_killed_in_mid_training(make_up: Callable[..., Up], tmp_path: Path) -> None:
    up = make_up("--no-mlflow")
    project = start_training(up, tmp_path)
    mesh = json.loads((up.state / "mesh.json").read_text())
    os.kill(mesh["processes"]["broker"]["pid"], signal.SIGKILL)
    assert end_of(up, project)["training"]["rounds"] == ROUNDS
    assert json.loads((up.state / "mesh.json").read_text())["processes"]["broker"] != mesh["processes"]["broker"]


@pytest.mark.parametrize("service", ["manager", "observer"])
def test_killed_service_starts_again_and_the_project_ends(
    service: str, make_up: Callable[..., Up], tmp_path: Path
) -> None:
    up = make_up("--no-mlflow")
    project = start_training(up, tmp_path)
    os.kill(json.loads((up.state / "mesh.json").read_text())["processes"][service]["pid"], signal.SIGKILL)
    status = end_of(up, project)
    assert status["training"]["rounds"] == ROUNDS
    lines = up.flops("history", project, "--json").document
    assert [line["position"] for line in lines] == list(range(1, status["sequence"] + 1))


def test_mlflow_down_in_training_gets_everything_afterwards(make_up: Callable[..., Up], tmp_path: Path) -> None:
    up = make_up()
    tracking = up.wait_for_mlflow()
    url = repository(FIXTURES / "plain", tmp_path / "repository", **SLOW)
    server = json.loads((up.state / "mesh.json").read_text())["processes"]["mlflow"]["pid"]
    os.killpg(server, signal.SIGSTOP)
    project = up.flops("submit", "-", "--json", stdin=json.dumps(sla(url, rounds=3))).document["project"]
    wait_for_round(up, project, 3)
    os.killpg(server, signal.SIGCONT)
    training = end_of(up, project)["training"]
    assert training["tracked"] is True

    import mlflow

    mlflow.set_tracking_uri(tracking)
    history = mlflow.MlflowClient().get_metric_history(training["mlflow_run"], "accuracy")
    assert sorted({metric.step for metric in history}) == [1, 2, 3]


def test_embedded_broker_when_there_is_no_mosquitto(make_up: Callable[..., Up], tmp_path: Path) -> None:
    up = make_up("--no-mlflow", "--broker-kind", "iotcore")
    assert up.ready["broker_kind"] == "iotcore"
    project = start_training(up, tmp_path)
    assert end_of(up, project)["training"]["rounds"] == ROUNDS


@pytest.mark.skipif(mosquitto() is None and "CI" not in os.environ, reason="without Mosquitto, iotcore is the default")
def test_mosquitto_is_taken_where_it_is(make_up: Callable[..., Up]) -> None:
    assert make_up("--no-mlflow").ready["broker_kind"] == "mosquitto"
