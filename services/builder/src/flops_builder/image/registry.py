"""What the builder wants of a registry, and which kinds there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import Digest
from flops_protocol.messages.project import ImageSet

from flops_builder.image.documents import Blob

REFERENCE = "org.opencontainers.image.ref.name"
"""The annotation that names an entry of the registry's index."""


@dataclass(frozen=True)
class Push:
    """Everything that one build brings. Files first, documents in an order in which none points at a later one."""

    files: Mapping[Digest, Path]
    """Layers, by their digest."""
    documents: Sequence[Blob]
    entries: Sequence[tuple[Blob, Mapping[str, str]]]
    """What the registry's own index shall point at, with annotations."""
    images: ImageSet


@dataclass(frozen=True)
class Pushed:
    """What a push really moved: what the registry had already does not count."""

    bytes: int = 0
    blobs: int = 0
    skipped: list[Digest] = field(default_factory=list)


class Registry(Protocol):
    """A place for images. Every method may be used by several builders at once."""

    async def find(self, source_key: Digest) -> ImageSet | None:
        """The whole images that were built from these inputs; None when a part of them is missing."""
        ...

    async def find_locks(self, lock_key: str) -> Mapping[str, str] | None:
        """The locks that an earlier image was built with from the same requirements, by their names."""
        ...

    async def push(self, push: Push) -> Pushed:
        """Puts everything there, or leaves nothing behind.

        :raises FlopsError: FLOPS-B040 when it is full, FLOPS-B041 when it refuses
        """
        ...


def repository_missing(reference: str) -> FlopsError:
    """The error for a registry that this builder cannot write to."""
    return FlopsError("FLOPS-B041", f"{reference}: images go to an OCI layout folder, written `oci:/absolute/path`")
