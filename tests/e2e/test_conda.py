"""A project whose environment PyPI cannot serve: trained for real by the Python that conda brings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from flops_cli.demo import digits

from tests.conda.channel import OWN, Interpreter, another_minor, make_channel
from tests.e2e.harness import EXAMPLES, Up, repository, share, sla

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ENVIRONMENT = """\
channels: [lab]
dependencies:
  - python{}
  - lab-signal
  - pip:
      - mlflow
      - scikit-learn
"""
GUARD = """\
import sys

import lab_signal

assert lab_signal.scale() == 2.0
assert sys.version.startswith("{}."), sys.version
"""


@pytest.fixture(params=["own", "another"])
def interpreter(request: pytest.FixtureRequest) -> Interpreter:
    """What the channel's Python is made of: that of the node, and one of a minor that the node does not have."""
    found = OWN if request.param == "own" else another_minor()
    if found is None:
        pytest.skip("there is no Python of another minor beside the one that runs the tests")
    return found


@pytest.fixture
def conda_mesh(tmp_path: Path, shared: Path, interpreter: Interpreter) -> Iterator[Up]:
    channel = anyio.run(lambda: make_channel(tmp_path / "channels" / "lab", python=interpreter))
    up = Up(tmp_path / "mesh", environment={"FLOPS_CONDA_CHANNEL_NAMES": f"lab={channel}"})
    up.state.mkdir()
    share(up.state, shared)
    data = tmp_path / "digits.parquet"
    digits.write(data)
    added = up.flops("data", "add", "--tag", digits.TAG, str(data))
    assert added.code == 0, added.err
    up.start()
    yield up
    assert up.end() == 0
    assert up.left() == []
    shutil.rmtree(up.state)


def test_conda_brings_the_python_that_trains(conda_mesh: Up, tmp_path: Path, interpreter: Interpreter) -> None:
    asked = "=3.10.14" if interpreter is OWN else f"={interpreter.minor}"
    model = GUARD.format(interpreter.minor) + (EXAMPLES / "digits-sklearn" / "model_manager.py").read_text()
    url = repository(
        EXAMPLES / "digits-sklearn",
        tmp_path / "repository",
        conda__yaml=ENVIRONMENT.format(asked),
        model_manager__py=model,
    )
    done = conda_mesh.run_project(sla(url, learners=2, rounds=2, tag=digits.TAG), timeout=300)
    assert done.code == 0, f"{done.out}\n{done.err}"
    status = done.document["status"]
    assert status["stage"] == "completed"
    assert status["training"]["best"]["accuracy"] > 0.8
    assert status["training"]["tracked"] is True
    logs = conda_mesh.flops("logs", done.document["project"], "--json").out
    assert "conda brings the ML environment" in logs
    assert ("python=3.10.14 → python 3.11.*" in logs) == (interpreter is OWN)
    assert "scripts that packages want to have run are not run: lab-core" in logs
