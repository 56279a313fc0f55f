"""`flops demo`, the first thing that a newcomer runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from flops_cli.mesh import processes

from tests.e2e.harness import flops, share

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.mark.parametrize("example", ["digits-sklearn", "digits-numpy"])
def test_demo_ends_with_right_predictions_and_leaves_nothing(example: str, tmp_path: Path, shared: Path) -> None:
    share(tmp_path / "state", shared)
    done = flops("demo", "--example", example, "--state", str(tmp_path / "state"), "--json", timeout=180)
    assert done.code == 0, f"{done.out}\n{done.err}"
    report = done.document
    assert report["prediction"]["correct"] > 0.8 * report["prediction"]["total"]
    assert len(report["rounds"]) == 3
    assert len(report["rounds"][0]["trained"]) == 2
    assert processes.of_mesh(tmp_path / "state") == []


def test_demo_for_people(tmp_path: Path, shared: Path) -> None:
    share(tmp_path / "state", shared)
    done = flops("demo", "--state", str(tmp_path / "state"), timeout=180)
    assert done.code == 0, f"{done.out}\n{done.err}"
    for part in ("FLOps, median", "accuracy", "MLflow run", "predicted", "What next"):
        assert part in done.out
