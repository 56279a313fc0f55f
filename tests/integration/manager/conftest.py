"""A broker, images and a mesh for the tests of the manager."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests import brokers
from tests.integration.manager.harness import Mesh, running_mesh
from tests.integration.manager.images import scripted_images


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """As everywhere; once a module, so that a mesh may serve all of its tests."""
    return "asyncio"


@asynccontextmanager
async def new_mesh(root: Path) -> AsyncIterator[Mesh]:
    (root / "broker").mkdir()
    layout = scripted_images(root / "registry")
    async with brokers.run(root / "broker") as broker, running_mesh(root, broker, layout) as mesh:
        yield mesh


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh of a test's own, without a manager yet."""
    async with new_mesh(tmp_path) as mesh:
        yield mesh


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    """A mesh with a manager, for all tests of a module: projects do not disturb each other."""
    async with new_mesh(tmp_path_factory.mktemp("mesh")) as mesh, mesh.manager():
        yield mesh
