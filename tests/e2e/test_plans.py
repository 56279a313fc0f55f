"""`flops plan` and `flops submit --dry-run` on a mesh that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import FIXTURES, NUMPY, Up, repository, sla

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_plan_tells_what_the_project_then_does(mesh: Up, tmp_path: Path) -> None:
    files = NUMPY | {"requirements__txt": "numpy\nargparse\nyaml\n"}
    url = repository(FIXTURES / "plain", tmp_path / "repository", **files)
    wanted = json.dumps(sla(url))
    projects = [each["project"] for each in mesh.flops("list", "--json").document]
    done = mesh.flops("plan", "-", "--json", stdin=wanted)
    assert done.code == 0, done.err
    plan = done.document
    assert (plan["image"], plan["errors"]) == ("to-build", [])
    build = plan["build"]
    assert (build["file"], build["platforms"][0]["way"]) == ("requirements.txt", "assembled")
    assert build["platforms"][0]["wheel_bytes"] > 1_000_000
    lines = {(each["rule"], each.get("line")): (each["before"], each.get("after")) for each in build["repairs"]}
    assert lines["standard-library", 2] == ("argparse", None)
    assert lines["renamed", 3] == ("yaml", "PyYAML")
    assert [each["project"] for each in mesh.flops("list", "--json").document] == projects
    assert not list((mesh.state / "engine" / "actors").glob("plan-*"))

    read = mesh.flops("submit", "-", "--dry-run", stdin=wanted)
    assert read.code == 0
    for text in ("It would run", "- yaml", "+ PyYAML", "requirements.txt:3", "node-1"):
        assert text in read.out

    assert mesh.run_project(sla(url)).code == 0
    plan = mesh.flops("plan", "-", "--json", stdin=wanted).document
    assert plan["image"] == "found"
    assert plan["seconds"].keys() == {"deploying", "training"}


def test_all_mistakes_are_told_at_once_and_the_exit_code_says_so(mesh: Up, tmp_path: Path) -> None:
    files = {"model_manager__py": None, "requirements__txt": "numpy=>1\n"}
    url = repository(FIXTURES / "plain", tmp_path / "repository", **(NUMPY | files))
    done = mesh.flops("plan", "-", stdin=json.dumps(sla(url, tag="moon")))
    assert done.code == 1
    assert "It would fail: 3 mistakes" in done.out
    for code in ("FLOPS-D002", "FLOPS-B021", "FLOPS-B010", "requirements.txt:1"):
        assert code in done.out
