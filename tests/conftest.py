"""What all tests share."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail: speed is measured in tests/bench, never in a test.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """aiomqtt and grpc.aio run on asyncio only; so does the mesh."""
    return "asyncio"


@pytest.fixture(scope="session")
async def one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """One event loop from here to the end of the run, for tests that use grpc.aio in their own process.

    It has one queue for all loops, and brings one that was closed since the last words of its streams, in the middle of
    another test.
    """
    yield  # noqa: PT022 - the loop lives as long as this fixture does
