"""A whole project whose images go through a real registry."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from tests.e2e.harness import FIXTURES, NUMPY, Up, repository, sla
from tests.registries.process import RegistryServer, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(run(tmp_path / "server")) as server:
        yield server


def test_a_project_on_a_registry(server: RegistryServer, numbers: Path, shared: Path, tmp_path: Path) -> None:
    up = Up(tmp_path / "state", ["--no-mlflow", "--registry", server.url])
    (shared / "cache").mkdir(exist_ok=True)
    up.state.mkdir()
    (up.state / "cache").symlink_to(shared / "cache")
    assert up.flops("data", "add", "--tag", "numbers", str(numbers)).code == 0
    up.start()
    try:
        assert up.ready["registry"] == server.url
        url = repository(FIXTURES / "plain", tmp_path / "repository", **NUMPY)
        done = up.run_project(sla(url))
        assert done.code == 0, f"{done.out}\n{done.err}"
        assert done.document["status"]["images"]["learner"]["registry"] == server.url
        again = up.run_project(sla(url))
        assert again.document["status"]["images"]["lookup"] == "found"
        assert not (up.state / "registry").exists()
        (listed,) = up.flops("images", "--json").document
        assert listed["image_key"] == done.document["status"]["images"]["image_key"]
        assert len(listed["projects"]) == 2
        assert up.flops("images", "prune", "--older-than", "0s", "--json").document["removed"] == []
    finally:
        assert up.end() == 0
    assert up.left() == []
    shutil.rmtree(up.state)
