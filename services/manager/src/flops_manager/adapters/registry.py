"""Image lookup in the registry that images go to."""

from __future__ import annotations

import structlog
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ImageSet
from flops_registry.address import LAYOUT
from flops_registry.base import pinned
from flops_registry.names import repository_slug
from flops_registry.opening import Access, open_registry
from flops_registry.uses import UseBook

log = structlog.get_logger(__name__)


class RegistryLookup:
    """`ImageLookup` in a registry."""

    def __init__(self, registry: str, access: Access | None = None, uses: UseBook | None = None) -> None:
        """`registry` is a layout folder or the address of a server; nothing is asked before the first lookup."""
        self._registry = registry
        self._access = access
        self._uses = uses

    async def find(self, repository_url: str, source_key: str) -> ImageSet | None:
        """See `ImageLookup.find`."""
        try:
            async with open_registry(self._registry, self._access, uses=self._uses) as registry:
                return await registry.find(repository_slug(repository_url), source_key)
        except FlopsError as error:
            if not self._registry.startswith(LAYOUT):
                # Whoever cannot be asked will not take the images either: better said now than after a build.
                raise
            # A folder that cannot be read holds nothing to be found; what is wrong with it, the push will tell.
            log.warning("the registry cannot be read", registry=self._registry, error=str(error))
            return None

    async def pinned(self, base_image: str) -> str:
        """See `ImageLookup.pinned`."""
        return await pinned(base_image, self._access)
