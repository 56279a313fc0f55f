"""A real registry for all tests that do not break it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.registries.process import RegistryServer, run


@pytest.fixture
async def server(tmp_path) -> AsyncIterator[RegistryServer]:
    """A registry that anybody may write to."""
    async with run(tmp_path / "server") as server:
        yield server
