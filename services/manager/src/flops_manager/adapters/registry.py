"""Image lookup in the registry that images go to."""

from __future__ import annotations

import structlog
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ImageSet
from flops_registry.names import repository_slug
from flops_registry.opening import open_registry

log = structlog.get_logger(__name__)


class RegistryLookup:
    """`ImageLookup` in a registry."""

    def __init__(self, registry: str) -> None:
        """`registry` is `oci:/absolute/path`."""
        self._registry = registry

    async def find(self, repository_url: str, source_key: str) -> ImageSet | None:
        """See `ImageLookup.find`."""
        try:
            return await open_registry(self._registry).find(repository_slug(repository_url), source_key)
        except FlopsError as error:
            # A folder that cannot be read holds nothing to be found; what is wrong with it, the push will tell.
            log.warning("the registry cannot be read", registry=self._registry, error=str(error))
            return None
