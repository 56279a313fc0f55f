"""What builder, manager and engines want of a registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import ImageSet

from flops_registry.documents import Blob, Descriptor


@dataclass(frozen=True)
class Borrowed:
    """A blob of another image, as a base image's layers are."""

    descriptor: Descriptor
    fetch: Callable[[], Awaitable[Path]]
    """Brings it to this machine; seldom needed, as the registry may have it."""
    registry: str
    repository: str
    """Where it is now, by the registry's own name; both empty: on this machine only."""


@dataclass(frozen=True)
class Push:
    """Images, and what is about them. Files first, documents in an order in which none points at a later one."""

    files: Mapping[Digest, Path]
    """Layers, by their digest."""
    documents: Sequence[Blob]
    entries: Sequence[tuple[Blob, Mapping[str, str]]]
    """What the registry's own index shall point at, with annotations."""
    borrowed: Mapping[Digest, Borrowed] = field(default_factory=dict)
    """What the documents point at and is in no file yet."""


@dataclass(frozen=True)
class Pushed:
    """What a push really moved: what the registry had already does not count."""

    bytes: int = 0
    blobs: int = 0
    skipped: list[Digest] = field(default_factory=list)


OnBytes = Callable[[int], None]
"""Is told of bytes that have arrived; less than none, where some were lost again."""


def nobody(_: int) -> None:
    """An `OnBytes` for those who do not want to know."""


class Registry(Protocol):
    """A place for images. Every method may be used by several processes at once."""

    @property
    def compressed(self) -> bool:
        """Whether layers are to be compressed for it."""
        ...

    async def find(self, slug: str, source_key: Digest) -> ImageSet | None:
        """The whole images that were built from these inputs; None when a part of them is missing.

        :param slug: what the ML repository's images are called
        :raises FlopsError: FLOPS-B041 when the registry cannot be asked
        """
        ...

    async def find_locks(self, slug: str, lock_key: str) -> Mapping[str, str] | None:
        """The locks that an earlier image was built with from the same requirements, by their names.

        :raises FlopsError: FLOPS-B041 when the registry cannot be asked
        """
        ...

    async def push(self, push: Push, on_bytes: OnBytes = nobody) -> Pushed:
        """Puts everything there, or leaves nothing behind that could be found.

        :raises FlopsError: FLOPS-B040 when it is full, FLOPS-B041 when it refuses, FLOPS-B046 when it refuses the
            credentials (so does everything else that asks it)
        """
        ...

    async def resolve(self, repository: str, tag: str | None) -> Digest | None:
        """The digest of what a tag leads to now; None when there is no such tag.

        :param tag: in a layout, the name of an entry; None: the only entry that there is
        :raises FlopsError: FLOPS-B041 when the registry cannot be asked
        """
        ...

    async def manifest(self, repository: str, digest: Digest) -> bytes:
        """The bytes of an index or a manifest, compared with their digest.

        :raises FlopsError: FLOPS-B041 when they cannot be had
        """
        ...

    async def content(self, repository: str, digest: Digest) -> bytes:
        """The bytes of a small blob, as a configuration and a lock are, compared with their digest.

        :raises FlopsError: FLOPS-B041 when they cannot be had
        """
        ...

    async def blob(self, repository: str, blob: Descriptor, scratch: Path, on_bytes: OnBytes = nobody) -> Path:
        """A file with the blob's bytes. It belongs to the registry, save when it lies in `scratch`.

        :raises FlopsError: FLOPS-B040 when there is no room, FLOPS-B041 when it cannot be had
        """
        ...
