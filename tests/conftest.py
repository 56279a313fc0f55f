"""What all tests share."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """aiomqtt and grpc.aio run on asyncio only; so does the mesh."""
    return "asyncio"
