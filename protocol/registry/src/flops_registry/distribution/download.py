"""Takes a blob out of a repository (distribution-spec 1.1, "Pulling blobs"): compared while it comes, gone on with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
from flops_protocol.errors import FlopsError

from flops_registry.distribution.authority import Scope
from flops_registry.distribution.client import Client
from flops_registry.distribution.transport import Answer, ConnectionLost, Transient
from flops_registry.documents import Descriptor

READ = 1024 * 1024
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)$")


async def download(
    client: Client, repository: str, blob: Descriptor, target: Path, on_bytes: Callable[[int], None]
) -> Path:
    """The blob as the file `target`. What an earlier attempt left at `{target}.part` is gone on with.

    :raises FlopsError: FLOPS-B041 when it cannot be had, or is not what its digest says; FLOPS-B046
    :raises OSError: when it cannot be written
    """
    part = target.with_name(f"{target.name}.part")
    taken = await anyio.to_thread.run_sync(_take_up, part, blob.size)
    on_bytes(taken.size)
    failures = 0
    try:
        while taken.size < blob.size:
            before = taken.size
            try:
                await _go_on(client, repository, blob, taken, on_bytes)
            except (ConnectionLost, Transient) as error:
                failures = 1 if taken.size > before else failures + 1
                if failures >= client.patience.attempts:
                    raise client.failed(f"{repository}: {blob.digest}", error, failures) from error
                await client.patience.pause(failures, getattr(error, "asked", None))
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(taken.file.close)
    if f"sha256:{taken.hash.hexdigest()}" != blob.digest:
        part.unlink(missing_ok=True)
        raise FlopsError("FLOPS-B041", f"{client.address}: {blob.digest} comes with other bytes than its digest says")
    await anyio.Path(part).replace(target)
    return target


class _Taken:
    """What is there already."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def add(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.count(chunk)

    def count(self, chunk: bytes) -> None:
        self.hash.update(chunk)
        self.size += len(chunk)

    def empty(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.hash = hashlib.sha256()
        self.size = 0


def _take_up(part: Path, size: int) -> _Taken:
    part.parent.mkdir(parents=True, exist_ok=True)
    taken = _Taken(part.open("a+b"))
    taken.file.seek(0)
    while chunk := taken.file.read(READ):
        taken.count(chunk)
    if taken.size > size:
        taken.empty()
    return taken


async def _go_on(
    client: Client, repository: str, blob: Descriptor, taken: _Taken, on_bytes: Callable[[int], None]
) -> None:
    url = client.address.url(repository, f"blobs/{blob.digest}")
    headers = {"Range": f"bytes={taken.size}-"} if taken.size else {}
    scope = Scope(client.address.name(repository))
    async with client.open("GET", url, scope, expected={200, 206}, headers=headers) as answer:
        if taken.size and _start(answer) != taken.size:
            # It does not know ranges, and sends everything.
            on_bytes(-taken.size)
            taken.empty()
        async for chunk in answer.chunks():
            if taken.size + len(chunk) > blob.size:
                raise FlopsError("FLOPS-B041", f"{client.address}: {blob.digest} has more than its {blob.size} bytes")
            await anyio.to_thread.run_sync(taken.add, chunk)
            on_bytes(len(chunk))
    if taken.size < blob.size:
        raise ConnectionLost(f"it ended after {taken.size} of {blob.size} bytes")


def _start(answer: Answer) -> int:
    found = CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    return int(found.group(1)) if answer.status == 206 and found else 0
