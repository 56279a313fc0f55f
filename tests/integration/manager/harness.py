"""A mesh for tests: a real broker, a manager, scripted actors as real processes, and a client that watches."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.mqtt import MqttBus
from flops_protocol.channels import (
    MANAGER_ERRORS,
    NODE_STATUS,
    PROJECT_COMPLETED,
    PROJECT_EVENTS,
    PROJECT_STATUS,
    REPLAY,
    SERVICE_STATUS,
    SUBMIT,
)
from flops_protocol.messages.mesh import NodeStatus, ServiceStatus
from flops_protocol.messages.project import ErrorReport, ProjectCompleted, ProjectEvent, ProjectStatus
from flops_protocol.messages.requests import ReplayRequest, Reply, SubmitRequest
from pyarrow import parquet

from tests.brokers import Broker
from tests.integration.manager.images import SCRIPT, Layout

ENDED = {"completed", "failed", "cancelled"}


def make_repository(folder: Path) -> Path:
    """A repository with one commit on `main`, and a tag."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "model_manager.py").write_text("class ModelManager: ...\n")
    git(folder, "add", ".")
    commit(folder, "first")
    git(folder, "tag", "v1")
    return folder


def commit(folder: Path, message: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    git(folder, *identity, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def add_data(folder: Path, tag: str, rows: int) -> None:
    (folder / tag).mkdir(parents=True, exist_ok=True)
    table = pa.table({"x": list(range(rows)), "label": [str(row) for row in range(rows)]})
    parquet.write_table(table, folder / tag / f"part-{rows}.parquet")


@dataclass
class Mesh:
    """Folders, broker and client of one test."""

    root: Path
    broker: Broker
    layout: Layout
    repository: Path
    bus: MqttBus
    events: dict[str, list[ProjectEvent]] = field(default_factory=dict)
    statuses: dict[str, ProjectStatus] = field(default_factory=dict)
    ends: dict[str, list[ProjectCompleted]] = field(default_factory=dict)
    errors: dict[str, list[ErrorReport]] = field(default_factory=dict)
    nodes: list[NodeStatus] = field(default_factory=list)
    changed: anyio.Event = field(default_factory=anyio.Event)
    extra: dict[str, str] = field(default_factory=dict)
    service: list[ServiceStatus] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a manager of this mesh."""
        return {
            "FLOPS_BROKER": self.broker.url,
            "FLOPS_STATE_DIR": str(self.root / "manager"),
            "FLOPS_REGISTRY": self.layout.registry,
            "FLOPS_ENGINE_DIR": str(self.root / "engine"),
            "FLOPS_DATA_DIR": str(self.root / "data"),
            "FLOPS_CACHE_DIR": str(self.root / "cache"),
            "FLOPS_BUILDER_COMMAND": f"{sys.executable} -u {SCRIPT}",
            "FLOPS_GRACE_SECONDS": "1",
            "FLOPS_RECONCILE_SECONDS": "2",
            "FLOPS_LOST_SECONDS": "2",
            "FLOPS_START_SECONDS": "10",
            # Only the Python of the tests and what the system has: looking for others takes a while at every start.
            "HOME": str(self.root),
            "PATH": f"{Path(shutil.which('git') or 'git').parent}:/usr/bin:/bin",
            **self.extra,
        }

    def sla(self, *, script: dict[str, Any] | None = None, **changes: Any) -> str:
        document: dict[str, Any] = {
            "ml_repo_url": str(self.repository),
            "ml_model_flavor": "sklearn",
            "training_configuration": {
                "data_tags": ["digits"],
                "training_rounds": 2,
                "min_available_clients": 2,
                "min_fit_clients": 1,
            },
            "strategy": {"name": "FedAvg", "arguments": {"script": script or {}}},
        }
        for key, value in changes.items():
            if key in document["training_configuration"] or key == "min_evaluate_clients":
                document["training_configuration"][key] = value
            else:
                document[key] = value
        return json.dumps(document)

    def new_repository(self) -> str:
        """A repository that no image was built of yet."""
        return str(make_repository(self.root / f"repository-{os.urandom(4).hex()}"))

    async def ask(self, channel: Any, message: Any) -> Reply:
        return await self.bus.request(channel, message, timeout=10)

    async def submit(self, sla: str | None = None, *, token: str | None = None, **options: Any) -> str:
        reply = await self.ask(SUBMIT, SubmitRequest(sla=sla or self.sla(**options), token=token))
        assert reply.error is None, reply
        assert reply.project is not None
        return reply.project

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        with anyio.fail_after(seconds):
            while not condition():
                await self.changed.wait()

    def tell(self) -> None:
        """Something has changed: whoever waits looks again."""
        changed, self.changed = self.changed, anyio.Event()
        changed.set()

    async def stage(self, project: str, *stages: str, seconds: float = 20) -> ProjectStatus:
        def there() -> bool:
            status = self.statuses.get(project)
            return status is not None and status.stage.value in stages

        try:
            await self.until(there, seconds)
        except TimeoutError:
            raise AssertionError(f"{project} is not {stages}: {self.statuses.get(project)}") from None
        return self.statuses[project]

    async def end(self, project: str, seconds: float = 20) -> ProjectStatus:
        return await self.stage(project, *ENDED, seconds=seconds)

    async def history(self, project: str) -> list[ProjectEvent]:
        events: list[ProjectEvent] = []
        after: int | None = 0
        while after is not None:
            reply = await self.ask(REPLAY, ReplayRequest(project=project, after=after, limit=7))
            assert reply.events is not None, reply
            events.extend(reply.events)
            after = reply.next
        return events

    def processes(self) -> list[str]:
        """Command lines of the processes that belong to this mesh's actors."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes()
                words = (path / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"FLOPS_STATE_DIR={self.root}/engine/".encode() in environment and words[0]:
                found.append(b" ".join(words).decode())
        return found

    async def gone(self, seconds: float = 10) -> None:
        """Nothing of any actor runs any more."""
        with anyio.fail_after(seconds):
            while self.processes():  # noqa: ASYNC110 - nobody tells when a process of somebody else ends
                await anyio.sleep(0.05)

    def manager_process(self, **extra: str) -> ManagerProcess:
        """A manager that is not started yet."""
        return ManagerProcess(self, extra)

    @asynccontextmanager
    async def manager(self, **extra: str) -> AsyncIterator[ManagerProcess]:
        """A manager as a process of its own."""
        process = self.manager_process(**extra)
        await process.start()
        try:
            await process.ready()
            yield process
        finally:
            with anyio.CancelScope(shield=True):
                await process.kill()


class ManagerProcess:
    """A manager that a test may kill and start again."""

    def __init__(self, mesh: Mesh, extra: dict[str, str]) -> None:
        self._mesh = mesh
        self._extra = extra
        self.log = mesh.root / "manager.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, **extra: str) -> None:
        self._began = datetime.now(UTC)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOPS_")}
        environment |= self._mesh.environment | self._extra | extra
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-m", "flops_manager"], env=environment, stdout=log, stderr=log
            )

    async def ready(self) -> None:
        """It listens: what is asked from now on is answered."""
        pid = self._process.pid if self._process else 0
        try:
            await self._mesh.until(
                lambda: any(s.state == "up" and s.since > self._began for s in self._mesh.service), 15
            )
        except TimeoutError:
            raise AssertionError(f"manager {pid} does not come up: {self.log.read_text()}") from None

    @property
    def returncode(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    async def wait(self, seconds: float = 20) -> int:
        assert self._process is not None
        with anyio.fail_after(seconds):
            while self._process.poll() is None:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        return self._process.returncode

    async def terminate(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self.wait()

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            await anyio.to_thread.run_sync(self._process.wait)


async def watch(mesh: Mesh) -> None:
    """Keeps what the manager says."""

    async def event(received: Received[ProjectEvent]) -> None:
        mesh.events.setdefault(received.message.project, []).append(received.message)
        mesh.tell()

    async def status(received: Received[ProjectStatus]) -> None:
        mesh.statuses[received.message.project] = received.message
        mesh.tell()

    async def completed(received: Received[ProjectCompleted]) -> None:
        mesh.ends.setdefault(received.message.project, []).append(received.message)
        mesh.tell()

    async def error(received: Received[ErrorReport]) -> None:
        mesh.errors.setdefault(received.message.project, []).append(received.message)
        mesh.tell()

    async def node(received: Received[NodeStatus]) -> None:
        mesh.nodes.append(received.message)
        mesh.tell()

    async def service(received: Received[ServiceStatus]) -> None:
        mesh.service.append(received.message)
        mesh.tell()

    mesh.bus.on(SERVICE_STATUS, service, kind="manager")
    mesh.bus.on(MANAGER_ERRORS, error)
    mesh.bus.on(NODE_STATUS, node)
    mesh.bus.on(PROJECT_EVENTS, event)
    mesh.bus.on(PROJECT_STATUS, status)
    mesh.bus.on(PROJECT_COMPLETED, completed)


@asynccontextmanager
async def running_mesh(root: Path, broker: Broker, layout: Layout) -> AsyncIterator[Mesh]:
    """A mesh without a manager yet. Whatever actors are left are killed in the end."""
    bus = MqttBus(broker.url, Identity("client", "test"))
    mesh = Mesh(root, broker, layout, make_repository(root / "digits"), bus)
    add_data(root / "data", "digits", 100)
    await watch(mesh)
    async with anyio.create_task_group() as group:
        await group.start(bus.run)
        try:
            yield mesh
        finally:
            group.cancel_scope.cancel()
            kill_actors(root)


def kill_actors(root: Path) -> None:
    """Kills whatever is left of the actors of a mesh."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"FLOPS_STATE_DIR={root}/engine/".encode() in (path / "environ").read_bytes():
                os.kill(int(path.name), signal.SIGKILL)
        except OSError:
            continue
