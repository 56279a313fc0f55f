"""The nodes as the mesh sees them: looked at regularly, and told to everybody."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import structlog
from flops_protocol.bus import Bus
from flops_protocol.channels import NODE_STATUS
from flops_protocol.errors import FlopsError
from flops_protocol.messages.mesh import NodeStatus
from flops_protocol.messages.requests import NodeVerdict

from flops_manager.engine import Engine

log = structlog.get_logger(__name__)

REFUSALS = 20
"""Of how many projects a node remembers why it was refused."""
DISK_STEP = 1_000_000_000
"""A change of the free disk below this is not worth a message."""


class Nodes:
    """What the engine's nodes are like, as last looked at."""

    def __init__(self, engine: Engine, bus: Bus, scan_seconds: float) -> None:
        """Nothing is known before the first look."""
        self._engine = engine
        self._bus = bus
        self._scan_seconds = scan_seconds
        self._known: tuple[NodeStatus, ...] | None = None
        self._told: dict[str, NodeStatus] = {}
        self._refused: dict[str, dict[str, str]] = {}

    @property
    def known(self) -> tuple[NodeStatus, ...] | None:
        """The nodes as last looked at; None before the first look."""
        return self._known

    async def look(self) -> Sequence[NodeStatus]:
        """Looks at the nodes now."""
        self._known = tuple(await self._engine.nodes(fresh=True))
        return self._known

    def refuse(self, project: str, verdicts: Sequence[NodeVerdict]) -> None:
        """Remembers why nodes did not take a project's actors."""
        reasons: dict[str, list[str]] = {}
        for verdict in verdicts:
            if not verdict.taken:
                reasons.setdefault(verdict.node, []).append(f"{verdict.role.value}: {verdict.reason}")
        self._refused.pop(project, None)
        if reasons:
            self._refused[project] = {node: "; ".join(texts)[:500] for node, texts in reasons.items()}
        while len(self._refused) > REFUSALS:
            del self._refused[next(iter(self._refused))]

    async def run(self) -> None:
        """Looks at the nodes regularly, and publishes what has changed."""
        while True:
            try:
                await self.look()
            except (FlopsError, OSError):
                log.exception("the nodes cannot be looked at")
            await self.tell()
            await anyio.sleep(self._scan_seconds)

    async def tell(self) -> None:
        """Publishes the nodes that have changed since they were told."""
        for node in self._known or ():
            refused = {project: texts[node.node] for project, texts in self._refused.items() if node.node in texts}
            status = node.model_copy(update={"refused": refused})
            if _alike(status, self._told.get(node.node)):
                continue
            try:
                await self._bus.publish(NODE_STATUS, status, node=status.node)
            except FlopsError as error:
                log.warning("a node's status was not taken", node=status.node, error=str(error))
            else:
                self._told[status.node] = status

    async def farewell(self) -> None:
        """Publishes that nobody looks after the nodes any more."""
        for node in list(self._told.values()):
            await self._bus.publish(NODE_STATUS, node.model_copy(update={"state": "down"}), node=node.node)


def _alike(new: NodeStatus, old: NodeStatus | None) -> bool:
    if old is None:
        return False
    same_disk = abs(new.disk_free_bytes - old.disk_free_bytes) < DISK_STEP
    return same_disk and new.model_copy(update={"disk_free_bytes": old.disk_free_bytes}) == old
