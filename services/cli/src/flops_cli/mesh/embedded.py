"""The whole mesh while a block runs, and nothing of it afterwards."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, to_thread
from flops_protocol.bus import Received
from flops_protocol.channels import NODE_STATUS, SERVICE_STATUS
from flops_protocol.errors import FlopsError
from flops_protocol.messages.mesh import NodeStatus, ServiceStatus

from flops_cli.adapters.mqtt import connected
from flops_cli.bare import bare_errors
from flops_cli.mesh import processes, services
from flops_cli.mesh.health import until_healthy
from flops_cli.mesh.ports import HOST, choose
from flops_cli.mesh.state import MeshFile, StateFolder
from flops_cli.mesh.supervisor import Supervisor

READY_SECONDS = 30.0
STOPPING = ("manager", "observer", "mlflow", "broker")
"""The manager first: it stops the actors, and they say goodbye to a broker that still listens."""


@dataclass(frozen=True)
class Ports:
    """Ports that are wanted; None: any."""

    broker: int | None = None
    mlflow: int | None = None


@dataclass(frozen=True)
class EmbeddedMesh:
    """A mesh that runs. `ready_seconds` is the time it took, MLflow's server not included."""

    state: StateFolder
    broker: str
    broker_kind: str
    mlflow: str | None
    registry: str
    ready_seconds: float
    mlflow_up: Event

    async def wait_for_mlflow(self, seconds: float) -> bool:
        """Whether MLflow's server answers within so many seconds."""
        if self.mlflow is None:
            return False
        with move_on_after(seconds):
            await self.mlflow_up.wait()
        return self.mlflow_up.is_set()


@asynccontextmanager
async def embedded_mesh(
    state: StateFolder,
    *,
    ports: Ports = Ports(),
    with_mlflow: bool = True,
    broker_kind: str | None = None,
    registry: str | None = None,
    tell: Callable[[str], None],
) -> AsyncIterator[EmbeddedMesh]:
    """Starts everything, and stops everything when the block is left, actors included.

    What an earlier mesh on the same folder left behind, because it was killed, is ended first.

    :raises FlopsError: FLOPS-P013 when another process holds the folder, FLOPS-P009 when a wanted port is taken,
        FLOPS-P010 when a part does not start
    """
    began = current_time()
    state.make()
    with state.hold():
        await _clean_up(state, tell)
        last = state.mesh()
        broker_port = choose(ports.broker, _port(last.broker if last else None))
        mlflow_port = choose(ports.mlflow, _port(last.mlflow if last else None)) if with_mlflow else None
        images = registry or f"oci:{state.registry}"
        kind, broker = services.broker(state, broker_port, kind=broker_kind)
        url = f"mqtt://{HOST}:{broker_port}"
        tracking = None if mlflow_port is None else f"http://{HOST}:{mlflow_port}"
        supervisor = Supervisor(state.root, state.logs, tell=tell, changed=lambda: write())

        def write() -> None:
            state.write_mesh(
                MeshFile(
                    broker=url,
                    broker_kind=kind,
                    mlflow=tracking,
                    registry=images,
                    pid=os.getpid(),
                    processes=supervisor.records,
                )
            )

        mlflow_up = Event()
        with bare_errors():
            async with create_task_group() as group:
                try:
                    await supervisor.start(broker, group)
                    await supervisor.start(services.manager(state, url, tracking, images), group)
                    await supervisor.start(services.observer(state, url), group)
                    await _until_ready(url, supervisor)
                    ready_seconds = current_time() - began
                    if tracking is not None and mlflow_port is not None:
                        await supervisor.start(services.mlflow(state, mlflow_port), group)
                        group.start_soon(_watch_mlflow, tracking, mlflow_up)
                    yield EmbeddedMesh(state, url, kind, tracking, images, ready_seconds, mlflow_up)
                finally:
                    with CancelScope(shield=True):
                        for name in STOPPING:
                            await supervisor.stop(name)
                        await _clean_up(state, tell)
                    group.cancel_scope.cancel()


async def _clean_up(state: StateFolder, tell: Callable[[str], None]) -> None:
    """Ends what runs for the mesh though its `flops up` does not."""
    left = await to_thread.run_sync(processes.of_mesh, state.root)
    if left:
        tell(f"Ending {len(left)} processes of this mesh that were left: {', '.join(map(str, left))}")
        await processes.end(left, patience=5.0)


async def _until_ready(url: str, supervisor: Supervisor) -> None:
    """Waits until manager and observer have said that they are up, and the node stands.

    :raises FlopsError: FLOPS-P010 when one of them does not start, FLOPS-P006 when the broker does not
    """
    missing = {"manager", "observer", "node"}
    change = Event()

    async def on_service(received: Received[ServiceStatus]) -> None:
        if received.message.state == "up":
            missing.discard(received.message.kind)
            change.set()

    async def on_node(received: Received[NodeStatus]) -> None:
        if received.message.state == "up":
            missing.discard("node")
            change.set()

    until = current_time() + READY_SECONDS
    async with connected(url, connect_timeout=READY_SECONDS) as bus:
        await bus.subscribe(SERVICE_STATUS, on_service)
        await bus.subscribe(NODE_STATUS, on_node)
        while missing:
            for name in ("broker", "manager", "observer"):
                supervisor.check(name)
            if current_time() > until:
                raise FlopsError("FLOPS-P010", f"Not ready within {READY_SECONDS:g} s: {', '.join(sorted(missing))}")
            with move_on_after(0.2):
                await change.wait()
            change = Event()


async def _watch_mlflow(url: str, up: Event) -> None:
    await until_healthy(url)
    up.set()


def _port(url: str | None) -> int | None:
    return None if url is None else urlsplit(url).port
