"""Removes what runs for nobody."""

from __future__ import annotations

from collections.abc import Callable, Collection

import anyio
import structlog
from flops_protocol.errors import FlopsError

from flops_manager.engine import Engine
from flops_manager.store.store import Store

log = structlog.get_logger(__name__)


async def sweep(store: Store, engine: Engine, plans: Callable[[], Collection[str]], seconds: float) -> None:
    """Every so often, removes actors that no project and no plan wants: of a database that was lost, a removal that
    failed, or a plan whose manager was killed."""
    while True:
        try:
            for actor in await engine.list():
                if actor.project in plans():
                    continue
                wanted = actor.project in store.live and actor.instance in (await store.state(actor.project)).actors
                # It may have been removed, with its project at its end, while the others were looked at.
                if not wanted and actor in await engine.list(actor.project):
                    log.warning("an actor that nobody wants is removed", project=actor.project, instance=actor.instance)
                    await engine.remove(actor.project, actor.instance)
        except (FlopsError, OSError) as error:
            log.warning("the engine was not swept", error=str(error))
        await anyio.sleep(seconds)
