"""A broker, images and a mesh for each test of the manager."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import brokers
from tests.integration.manager.harness import Mesh, running_mesh
from tests.integration.manager.images import scripted_images


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    (tmp_path / "broker").mkdir()
    layout = scripted_images(tmp_path / "registry")
    async with brokers.run(tmp_path / "broker") as broker, running_mesh(tmp_path, broker, layout) as mesh:
        yield mesh
