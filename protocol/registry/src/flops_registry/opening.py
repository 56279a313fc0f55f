"""Which kinds of registry there are, and how one is reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread
from flops_protocol.errors import FlopsError

from flops_registry.address import LAYOUT, Address, check
from flops_registry.distribution import credentials
from flops_registry.distribution.authority import Authority
from flops_registry.distribution.book import BlobBook
from flops_registry.distribution.client import Client, Patience
from flops_registry.distribution.registry import DistributionRegistry
from flops_registry.interface import Registry
from flops_registry.layout import LayoutRegistry
from flops_registry.uses import UseBook


@dataclass(frozen=True)
class Access:
    """How a registry over HTTP is reached. None of it is ever part of a message."""

    credentials: Path | None = None
    """A file as Docker's `config.json`; None: Docker's own of this user, where there is one."""
    authority: Path | None = None
    """Certificates of a private authority, beside those of the system."""
    patience: Patience = field(default_factory=Patience)


@asynccontextmanager
async def open_registry(
    reference: str, access: Access | None = None, book: BlobBook | None = None, uses: UseBook | None = None
) -> AsyncIterator[Registry]:
    """The registry that a reference names, while the block runs.

    :param book: what is known of the blobs of registries, for a builder
    :param uses: where it is noted when an image of a server is used; a folder has a place for that itself
    :raises FlopsError: FLOPS-B041 when it is of a kind that is not known, FLOPS-B046 when the file with credentials is
        damaged
    """
    try:
        check(reference)
    except ValueError as error:
        raise FlopsError("FLOPS-B041", str(error)) from error
    if reference.startswith(LAYOUT):
        yield LayoutRegistry(Path(reference.removeprefix(LAYOUT)))
        return
    # Imported here: a process that works on a folder starts faster without HTTP.
    from flops_registry.adapters.http import http_transport

    access = access or Access()
    address = Address.parse(reference)
    known = await anyio.to_thread.run_sync(_credentials, access, address)
    async with http_transport(access.authority) as transport:
        client = Client(address, transport, Authority(address, transport, known), access.patience)
        yield DistributionRegistry(client, book.of(str(address)) if book else None, uses)


def _credentials(access: Access, address: Address) -> credentials.Credentials | None:
    file = access.credentials or credentials.default_file()
    return credentials.find(file, address.host) if file else None
