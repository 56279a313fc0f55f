"""From SLA to logged model, on real parts: broker, Git, builder, images, engine, MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flops_cli.demo import digits

from tests.e2e.harness import EXAMPLES, FIXTURES, NUMPY, Up, git, repository, sla

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
FLOPS_SLA = """\
{
  # As in FLOps's manual: every key, with comments.
  "customerID": "Admin",
  "verbose": true, # more log
  "use_devel_base_images": true,
  "ml_model_flavor": "sklearn",
  "ml_repo_url": "%s",
  "supported_platforms": ["linux/amd64"],
  "training_configuration": {
    "mode": "classic",
    "data_tags": ["numbers"],
    "training_cycles": 1,
    "training_rounds": 2,
    "min_available_clients": 1,
    "min_fit_clients": 1,
    "min_evaluate_clients": 1, // two kinds of comments
  },
  "post_training_steps": [],
  "resource_constraints": {
    "memory": 500,
    "vcpus": 1,
    "storage": 0
  }
}
"""


@pytest.fixture(scope="module")
def digits_mesh(mesh: Up, tmp_path_factory: pytest.TempPathFactory) -> Up:
    """The mesh with the digits too."""
    path = tmp_path_factory.mktemp("digits") / "digits.parquet"
    digits.write(path)
    added = mesh.flops("data", "add", "--tag", digits.TAG, str(path), "--json")
    assert added.document[0]["rows"] == 1797
    return mesh


def completed(mesh: Up, document: dict[str, Any] | str) -> dict[str, Any]:
    done = mesh.run_project(document)
    assert done.code == 0, f"{done.out}\n{done.err}"
    report: dict[str, Any] = done.document
    assert report["status"]["stage"] == "completed"
    return report


def predict(mesh: Up, model_uri: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "flops_cli.demo.proof", model_uri, "10"],
        env=os.environ | {"MLFLOW_TRACKING_URI": mesh.ready["mlflow"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("example", ["digits-sklearn", "digits-numpy"])
def test_example_from_sla_to_logged_model(example: str, digits_mesh: Up, tmp_path: Path) -> None:
    url = repository(EXAMPLES / example, tmp_path / "repository")
    report = completed(digits_mesh, sla(url, learners=2, rounds=3, tag=digits.TAG))
    status, summary = report["status"], report["summary"]
    assert status["commit"] == git(url, "rev-parse", "HEAD")
    assert status["training"]["tracked"] is True
    assert status["training"]["rounds"] == 3
    assert status["training"]["best"]["accuracy"] > 0.8
    stages = [span["stage"] for span in summary["stages"]]
    assert stages == ["accepted", "resolving", "building", "deploying", "training"]
    assert summary["percent"] == 100
    assert len(summary["learners"]) == 2
    assert summary["links"]["mlflow_run"].startswith(digits_mesh.ready["mlflow"])
    answer = predict(digits_mesh, status["training"]["model_uri"])
    assert answer["correct"] > 0.8 * answer["total"]
    project = report["project"]
    timeline = digits_mesh.flops("history", project, "--json").document
    assert [line["position"] for line in timeline] == list(range(1, status["sequence"] + 1))
    assert {line["step"] for line in timeline} >= {0, 1, 2, 3, 4, 5}
    logs = digits_mesh.flops("logs", project, "--json").document
    assert {entry["instance"] for entry in logs} >= set(summary["learners"])


def test_flops_sla_with_comments_is_taken_as_it_is(mesh: Up, tmp_path: Path) -> None:
    url = repository(FIXTURES / "plain", tmp_path / "repository", **NUMPY)
    report = completed(mesh, FLOPS_SLA % url)
    assert any("use_devel_base_images" in notice for notice in report["notices"])


def test_same_commit_again_finds_its_image(mesh: Up, tmp_path: Path) -> None:
    url = repository(FIXTURES / "plain", tmp_path / "repository", **NUMPY)
    first = completed(mesh, sla(url))
    plan = mesh.flops("plan", "-", "--json", stdin=json.dumps(sla(url))).document
    assert plan["image"] == "found"
    second = completed(mesh, sla(url))
    assert second["status"]["images"]["lookup"] == "found"
    assert second["status"]["images"]["learner"]["digest"] == first["status"]["images"]["learner"]["digest"]
    assert "building" not in [span["stage"] for span in second["summary"]["stages"]]


def test_same_token_gives_the_same_project(mesh: Up, tmp_path: Path) -> None:
    url = repository(FIXTURES / "plain", tmp_path / "repository", **NUMPY)
    text = json.dumps(sla(url))
    answers = [mesh.flops("submit", "-", "--json", "--token", "t-1", stdin=text).document for _ in range(2)]
    assert answers[0]["project"] == answers[1]["project"]
    assert [answer["created"] for answer in answers] == [True, False]
    other = mesh.flops("submit", "-", "--json", "--token", "t-1", stdin=json.dumps(sla(url, rounds=7)))
    assert other.code == 1
    assert other.document["error"]["code"] == "FLOPS-S004"
    assert mesh.flops("watch", answers[0]["project"], "--json").code == 0


def test_cancel_and_retry(mesh: Up, tmp_path: Path) -> None:
    slow = (
        (FIXTURES / "plain" / "model_manager.py")
        .read_text()
        .replace("    def fit_model(self):\n", "    def fit_model(self):\n        import time; time.sleep(0.3)\n")
    )
    url = repository(FIXTURES / "plain", tmp_path / "repository", **(NUMPY | {"model_manager__py": slow}))
    project = mesh.flops("submit", "-", "--json", stdin=json.dumps(sla(url, rounds=8))).document["project"]
    assert mesh.flops("cancel", project, "--reason", "a test").code == 0
    assert mesh.flops("watch", project, "--json").code == 5
    assert mesh.flops("show", project, "--json").document["status"]["stage"] == "cancelled"
    again = mesh.flops("retry", project, "--wait", "--json", timeout=120)
    assert again.code == 0, again.err
    assert again.document["status"]["attempt"] == 2


def test_watch_times_out_and_the_project_goes_on(mesh: Up, tmp_path: Path) -> None:
    url = repository(FIXTURES / "plain", tmp_path / "repository", **NUMPY)
    project = mesh.flops("submit", "-", "--json", stdin=json.dumps(sla(url))).document["project"]
    assert mesh.flops("watch", project, "--timeout", "0.1").code == 4
    done = mesh.flops("watch", project)
    assert done.code == 0
    assert "is completed" in done.out


def test_list_show_and_nodes_for_machines(mesh: Up, tmp_path: Path) -> None:
    url = repository(FIXTURES / "plain", tmp_path / "repository", **NUMPY)
    project = completed(mesh, sla(url))["project"]
    assert project in [item["project"] for item in mesh.flops("list", "--json").document]
    assert mesh.flops("show", "last", "--json").document["spec"]["project"] == project
    node = mesh.flops("nodes", "--json").document[0]
    assert "numbers" in [tag["tag"] for tag in node["data_tags"]]
    for command in ("list", "nodes"):
        done = mesh.flops(command)
        assert done.code == 0
        assert done.err == ""
