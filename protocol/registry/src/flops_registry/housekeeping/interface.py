"""What is wanted of a registry by whoever tidies it up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flops_protocol.identifiers import Digest


@dataclass(frozen=True)
class StoredImage:
    """The images of one image key, both roles, with all that is about them."""

    slug: str
    """What the repository's images are called."""
    image_key: Digest
    source_key: Digest
    source: str
    """The repository's URL."""
    commit: str
    platforms: tuple[str, ...]
    bytes: int
    """Of everything that it points at; other images may point at some of it, too."""
    last_used: datetime | None
    """None: nobody has noted it."""


@dataclass(frozen=True)
class Removed:
    """What is gone."""

    images: tuple[StoredImage, ...] = ()
    bytes: int | None = 0
    """What has become free; None where the registry frees it later, by itself."""


class Keeper(Protocol):
    """The images of a registry that this mesh has made. What others have put there is nobody's business here."""

    async def images(self) -> Sequence[StoredImage]:
        """All of them, those that were used last first.

        :raises FlopsError: FLOPS-B041, FLOPS-B046
        """
        ...

    async def remove(self, images: Sequence[StoredImage]) -> Removed:
        """Removes images, and whatever nothing points at any more. One that was used in the meantime stays.

        :raises FlopsError: FLOPS-B041, FLOPS-B046
        """
        ...
