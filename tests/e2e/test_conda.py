"""A project whose environment PyPI cannot serve: trained for real by the Python that conda brings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from flops_cli.demo import digits

from tests.conda.channel import MINOR, make_channel
from tests.e2e.harness import EXAMPLES, Up, repository, share, sla

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ENVIRONMENT = """\
channels: [lab]
dependencies:
  - python=3.10.14
  - lab-signal
  - pip:
      - mlflow
      - scikit-learn
"""
GUARD = "import lab_signal\n\nassert lab_signal.scale() == 2.0\n"


@pytest.fixture
def conda_mesh(tmp_path: Path, shared: Path) -> Iterator[Up]:
    channel = anyio.run(lambda: make_channel(tmp_path / "channels" / "lab", python=True))
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


def test_conda_brings_the_python_that_trains(conda_mesh: Up, tmp_path: Path) -> None:
    model = GUARD + (EXAMPLES / "digits-sklearn" / "model_manager.py").read_text()
    url = repository(
        EXAMPLES / "digits-sklearn", tmp_path / "repository", conda__yaml=ENVIRONMENT, model_manager__py=model
    )
    done = conda_mesh.run_project(sla(url, learners=2, rounds=2, tag=digits.TAG), timeout=300)
    assert done.code == 0, f"{done.out}\n{done.err}"
    status = done.document["status"]
    assert status["stage"] == "completed"
    assert status["training"]["best"]["accuracy"] > 0.8
    assert status["training"]["tracked"] is True
    logs = conda_mesh.flops("logs", done.document["project"], "--json").out
    assert "conda brings the ML environment" in logs
    assert f"python=3.10.14 → python {MINOR}.*" in logs
    assert "scripts that packages want to have run are not run: lab-core" in logs
