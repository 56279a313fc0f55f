"""The memory bus."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.bus.stage import MemoryStage, memory_stage
from tests.integration.bus.suite import BusSuite


@pytest.fixture
async def stage() -> AsyncIterator[MemoryStage]:
    async with memory_stage() as stage:
        yield stage


class TestMemoryBus(BusSuite):
    """Everything that a bus must do."""
