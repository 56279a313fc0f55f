"""Brings a blob into a repository (distribution-spec 1.1, "Pushing blobs")."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote, urlencode

from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import Digest

from flops_registry.distribution.authority import Scope
from flops_registry.distribution.client import Client, Reply
from flops_registry.distribution.transport import TRANSIENT, Body, ConnectionLost, FilePart, Transient

SMALL = 4 * 1024 * 1024
"""What goes in one piece."""
CHUNK = 16 * 1024 * 1024
OCTETS = {"Content-Type": "application/octet-stream"}
ANYTHING = frozenset(range(200, 500)) - TRANSIENT
"""Where every answer is one."""
RANGE = re.compile(r"(?:bytes=)?(\d+)-(\d+)$")


class Brought(Enum):
    """How a blob came to be where it is wanted."""

    THERE = "it was there"
    MOUNTED = "taken over from another repository"
    UPLOADED = "uploaded"


@dataclass(frozen=True)
class Source:
    """A blob on our side."""

    digest: Digest
    size: int
    content: Path | bytes

    def part(self, start: int, length: int) -> Body:
        """Some of its bytes."""
        if isinstance(self.content, bytes):
            return self.content[start : start + length]
        return FilePart(self.content, start, length)


@dataclass(frozen=True)
class Uploader:
    """Uploads to one registry."""

    client: Client
    small: int = SMALL
    chunk: int = CHUNK

    async def bring(
        self, repository: str, source: Source, elsewhere: Sequence[str], on_bytes: Callable[[int], None]
    ) -> Brought:
        """Has the blob in the repository: asks for it first, then takes it over from where it is, then uploads it.

        :param elsewhere: repositories of the same registry that may have it, by the registry's own names
        :param on_bytes: is told of bytes that have arrived (less than none where they were lost again)
        :raises FlopsError: FLOPS-B041, FLOPS-B046
        """
        taken = await self.take(repository, source.digest, elsewhere)
        if taken is None:
            await self.upload(repository, source, on_bytes)
        return taken or Brought.UPLOADED

    async def take(self, repository: str, digest: Digest, elsewhere: Sequence[str]) -> Brought | None:
        """The first half of `bring`; None when the blob has to be uploaded."""
        if await self.has(repository, digest):
            return Brought.THERE
        for other in elsewhere:
            if other != self.client.address.name(repository) and await self._mount(repository, digest, other):
                return Brought.MOUNTED
        return None

    async def upload(self, repository: str, source: Source, on_bytes: Callable[[int], None]) -> None:
        """The second half."""
        await _Upload(self, repository, source, on_bytes).run()

    async def has(self, repository: str, digest: Digest) -> bool:
        """Whether the repository has the blob."""
        url = self.client.address.url(repository, f"blobs/{digest}")
        return (await self.client.request("HEAD", url, self.scope(repository), expected={200, 404})).status == 200

    def scope(self, repository: str, mounted_from: str | None = None) -> Scope:
        """Writing there."""
        name = self.client.address.name
        return Scope(name(repository), writes=True, mounted_from=mounted_from)

    async def _mount(self, repository: str, digest: Digest, other: str) -> bool:
        query = urlencode({"mount": digest, "from": other})
        url = self.client.address.url(repository, f"blobs/uploads/?{query}")
        # A registry that does not, or may not, opens an upload instead; some do not even say so politely.
        try:
            reply = await self.client.request(
                "POST", url, self.scope(repository, other), expected={201, 202, 404, 405}, body=b""
            )
        except FlopsError as error:
            if error.body.code != "FLOPS-B046":
                raise
            return False  # the other repository is not ours to read; whether we may write here, the upload will say
        if reply.status == 202:
            await self._forget(repository, reply)
        return reply.status == 201

    async def _forget(self, repository: str, opened: Reply) -> None:
        location = self.client.address.join(opened.url, opened.headers.get("Location", opened.url))
        await self.client.request("DELETE", location, self.scope(repository), expected=ANYTHING)


class _Upload:
    """One upload, across all its sessions."""

    def __init__(self, uploader: Uploader, repository: str, source: Source, on_bytes: Callable[[int], None]) -> None:
        self._client = uploader.client
        self._uploader = uploader
        self._repository = repository
        self._scope = uploader.scope(repository)
        self._source = source
        self._on_bytes = on_bytes
        self._location: str | None = None
        self._offset = 0
        self._told = 0
        self._chunk = uploader.chunk

    async def run(self) -> None:
        """Until all of it is there. Only failures without any progress between them count against our patience."""
        failures, farthest = 0, 0
        while True:
            try:
                return await self._go_on()
            except (ConnectionLost, Transient) as error:
                failures = 1 if self._offset > farthest else failures + 1
                farthest = max(farthest, self._offset)
                if failures >= self._client.patience.attempts:
                    what = f"uploading {self._source.digest} to {self._repository}"
                    raise self._client.failed(what, error, failures) from error
                await self._client.patience.pause(failures, getattr(error, "asked", None))
                await self._ask_where_we_are()

    async def _go_on(self) -> None:
        source = self._source
        if self._location is None:
            await self._begin()
        if source.size > self._uploader.small or self._offset:
            while self._offset < source.size:
                await self._send_chunk()
            await self._finish(b"", source.size)
        else:
            await self._finish(source.part(0, source.size), 0)
        self._tell(source.size)

    async def _begin(self) -> None:
        url = self._client.address.url(self._repository, "blobs/uploads/")
        reply = await self._client.request("POST", url, self._scope, expected={202}, body=b"")
        self._move(reply, 0)
        least = reply.headers.get("OCI-Chunk-Min-Length", "")
        self._chunk = max(self._uploader.chunk, int(least) if least.isdigit() else 0)

    async def _send_chunk(self) -> None:
        start = self._offset
        length = min(self._chunk, self._source.size - start)
        headers = OCTETS | {"Content-Range": f"{start}-{start + length - 1}"}
        body = self._source.part(start, length)
        reply = await self._once("PATCH", self._here(), {202, 404, 416}, headers, body)
        if reply.status != 202:
            # It does not know how far we are, or not that there is anything: its answer to a question will say.
            raise Transient(f"the registry answers {reply.status} to bytes {start}-{start + length - 1}")
        self._move(reply, start + length)

    async def _finish(self, body: Body, offset: int) -> None:
        where = self._here()
        url = f"{where}{'&' if '?' in where else '?'}digest={quote(self._source.digest)}"
        reply = await self._once("PUT", url, {201, 202, 204, 404}, OCTETS, body)
        if reply.status == 404:
            if await self._uploader.has(self._repository, self._source.digest):
                return  # it was finished before, and only its answer was lost
            raise Transient(f"the upload is gone at byte {offset}")

    async def _ask_where_we_are(self) -> None:
        """Where to go on after a failure; from the beginning, where the registry has lost the upload."""
        if self._location is None:
            return
        reply = await self._client.request("GET", self._location, self._scope, expected=ANYTHING)
        found = RANGE.match(reply.headers.get("Range", ""))
        if reply.status in {200, 202, 204} and found is not None:
            last = int(found.group(2))
            # An upload with nothing in it says 0-0, too.
            self._move(reply, last + 1 if last else 0)
        else:
            self._location, self._offset = None, 0
            self._tell(0)

    async def _once(self, method: str, url: str, expected: set[int], headers: dict[str, str], body: Body) -> Reply:
        return await self._client.request(
            method, url, self._scope, expected=expected, headers=headers, body=body, attempts=1
        )

    def _here(self) -> str:
        assert self._location is not None  # noqa: S101 - `_go_on` has begun it
        return self._location

    def _move(self, reply: Reply, offset: int) -> None:
        self._location = self._client.address.join(reply.url, reply.headers.get("Location", reply.url))
        self._offset = offset
        self._tell(offset)

    def _tell(self, offset: int) -> None:
        self._on_bytes(offset - self._told)
        self._told = offset
