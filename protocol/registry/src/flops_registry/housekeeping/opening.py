"""Who tidies up which kind of registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flops_protocol.errors import FlopsError

from flops_registry.distribution.registry import DistributionRegistry
from flops_registry.housekeeping.distribution import DistributionKeeper
from flops_registry.housekeeping.interface import Keeper
from flops_registry.housekeeping.layout import LayoutKeeper
from flops_registry.layout import LayoutRegistry
from flops_registry.opening import Access, open_registry
from flops_registry.uses import UseBook


@asynccontextmanager
async def open_keeper(reference: str, access: Access, uses: UseBook) -> AsyncIterator[Keeper]:
    """The keeper of a registry, while the block runs.

    :param uses: when images of a server were used
    :raises FlopsError: as `open_registry`
    """
    async with open_registry(reference, access, uses=uses) as registry:
        match registry:
            case LayoutRegistry():
                yield LayoutKeeper(registry)
            case DistributionRegistry():
                yield DistributionKeeper(registry)
            case _:
                raise FlopsError("FLOPS-P010", f"nobody tidies up {reference}")
