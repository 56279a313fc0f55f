"""HTTP through aiohttp."""

from __future__ import annotations

import io
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio.to_thread
from flops_protocol.errors import FlopsError

from flops_registry.distribution.transport import Body, ConnectionLost, FilePart

PIECE = 256 * 1024
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
SLOWEST = 64 * 1024
"""Bytes a second: an upload that is slower than that is stuck."""


class HttpAnswer:
    """`Answer` of aiohttp."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """See `Answer.status`."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """See `Answer.headers`."""
        return self._response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `Answer.chunks`."""
        try:
            async for chunk in self._response.content.iter_chunked(PIECE):
                yield chunk
        except (TimeoutError, aiohttp.ClientError) as error:
            raise ConnectionLost(f"{type(error).__name__}: {error}") from error


class HttpTransport:
    """`Transport` of one session: connections are kept and used again."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """The session is closed by whoever opened it."""
        self._session = session

    @asynccontextmanager
    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> AsyncIterator[HttpAnswer]:
        """See `Transport.send`."""
        # In memory, a chunk at a time: a file that is read while it is sent stays open when the connection breaks.
        content = await anyio.to_thread.run_sync(_read, body) if isinstance(body, FilePart) else body
        size = len(content or b"")
        total = CONNECT_SECONDS + SILENCE_SECONDS + size / SLOWEST if size else None
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        try:
            response = await self._session.request(
                method,
                url,
                headers=headers,
                data=None if content is None else io.BytesIO(content),
                timeout=timeout,
                allow_redirects=method in {"GET", "HEAD"},
            )
        except aiohttp.ClientConnectorCertificateError as error:
            reason = error.certificate_error
            detail = f"{error.host}: its certificate is not trusted: {getattr(reason, 'verify_message', reason)}"
            raise FlopsError("FLOPS-B041", f"{detail}; FLOPS_REGISTRY_CA names a private authority") from error
        except (aiohttp.InvalidURL, aiohttp.TooManyRedirects) as error:
            raise FlopsError("FLOPS-B041", f"it answers with an address that leads nowhere: {error}"[:500]) from error
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            raise ConnectionLost(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        async with response:
            yield HttpAnswer(response)


@asynccontextmanager
async def http_transport(authority: Path | None) -> AsyncIterator[HttpTransport]:
    """A transport that trusts the system's authorities (or those of SSL_CERT_FILE), and one more.

    :param authority: a PEM file with the certificates of a private authority
    :raises FlopsError: FLOPS-B041 when it cannot be read
    """
    context = await anyio.to_thread.run_sync(_context, authority)
    connector = aiohttp.TCPConnector(ssl=context)
    # Proxies are those of the environment. Nothing is unpacked on the way: digests are about the bytes that lie there.
    async with aiohttp.ClientSession(
        connector=connector,
        trust_env=True,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "flops-mesh", "Accept-Encoding": "identity"},
    ) as session:
        yield HttpTransport(session)


def _context(authority: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authority is not None:
        try:
            context.load_verify_locations(cafile=os.fspath(authority))
        except (OSError, ssl.SSLError) as error:
            raise FlopsError("FLOPS-B041", f"{authority} holds no certificates that can be read: {error}") from error
    return context


def _read(part: FilePart) -> bytes:
    with part.file.open("rb") as stream:
        stream.seek(part.start)
        content = stream.read(part.length)
    if len(content) < part.length:
        raise OSError(f"{part.file} became shorter while it was read")
    return content
