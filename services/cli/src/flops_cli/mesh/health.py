"""Whether MLflow's server answers."""

from __future__ import annotations

import http.client
from contextlib import suppress
from urllib.parse import urlsplit

from anyio import sleep, to_thread

EVERY = 0.2


async def until_healthy(url: str) -> None:
    """Returns when the server at `url` answers its health check; cancel it to stop waiting."""
    while not await healthy(url):  # noqa: ASYNC110 - the server tells nobody when it is up
        await sleep(EVERY)


async def healthy(url: str) -> bool:
    """Whether the server at `url` answers its health check within two seconds."""
    return await to_thread.run_sync(_healthy, url, abandon_on_cancel=True)


def _healthy(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)
    try:
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False
    finally:
        connection.close()
