"""Whole builds of real repositories, into a layout folder."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any


def document(registry: Path, digest: str) -> dict[str, Any]:
    return json.loads((registry / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes())


def layers(registry: Path, image: Any, platform: str = "amd64") -> dict[str, Path]:
    """The layers of one platform of an image, by their kind."""
    index = document(registry, image.digest)
    (manifest,) = [each for each in index["manifests"] if each["platform"]["architecture"] == platform]
    return {
        layer["annotations"]["mesh.flops.layer"]: registry
        / "blobs"
        / "sha256"
        / layer["digest"].removeprefix("sha256:")
        for layer in document(registry, manifest["digest"])["layers"]
    }


def names(layer: Path) -> set[str]:
    with tarfile.open(layer) as archive:
        return {member.name for member in archive}


async def test_flops_repository_builds_unchanged(bench, fixture_repository):
    repository, commit = fixture_repository("sklearn-flops")
    outcome = await bench.build(repository, commit)
    registry = bench.registry

    learner = layers(registry, outcome.images.learner)
    aggregator = layers(registry, outcome.images.aggregator)
    assert list(learner) == ["runtime", "mlenv", "code"]
    assert list(aggregator) == ["runtime", "mlenv", "code", "tracking"]
    assert {name: aggregator[name] for name in learner} == learner
    assert "opt/flops/runtime/flops_start.py" in names(learner["runtime"])
    environment = names(learner["mlenv"])
    assert {"opt/flops/mlenv/sklearn/__init__.py", "opt/flops/mlenv/flops_utils/__init__.py"} <= environment
    assert not any("mlflow/" in name for name in environment)
    assert "opt/flops/code/model_manager.py" in names(learner["code"])
    assert "opt/flops/tracking/mlflow/__init__.py" in names(aggregator["tracking"])
    rules = {repair.partition("]")[0].strip("[") for repair in outcome.repairs}
    assert {"conda-indentation", "python-pin", "installer", "mlflow-out"} <= rules
    assert outcome.images.python == "3.11"


async def test_percent_never_falls_and_ends_at_a_hundred(bench, fixture_repository):
    await bench.build(*fixture_repository("numpy-only"))
    percents = bench.recorder.percents
    assert percents == sorted(percents)
    assert percents[0] < 5
    assert percents[-1] == 100
    assert bench.recorder.estimates[-1] == 0
