"""The engine itself: what is wanted of an actor, and what is there of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
from flops_protocol.errors import FlopsError
from flops_protocol.messages.mesh import DataTag, NodeStatus
from flops_protocol.messages.project import Role
from flops_registry.opening import Access

from flops_manager.adapters.process_engine.data_tags import DataFolder
from flops_manager.adapters.process_engine.ending import end, kill_leftovers, wait_for_end
from flops_manager.adapters.process_engine.folders import ActorFolder, EngineFolder
from flops_manager.adapters.process_engine.hints import Hints
from flops_manager.adapters.process_engine.images import ImageStore, prune
from flops_manager.adapters.process_engine.interpreters import discover
from flops_manager.adapters.process_engine.launch import launch
from flops_manager.adapters.process_engine.machine import boot_id
from flops_manager.adapters.process_engine.node import describe, this_platform
from flops_manager.adapters.process_engine.record import Record, look
from flops_manager.engine import ActorSpec, EngineActor, Presence

LOG_TAIL_BYTES = 64 * 1024
IMAGE_DAYS = 14
"""For how long an image stays unpacked that no project uses."""
LOG_DAYS = 7
_SHARED = (
    *("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)


@dataclass(frozen=True)
class ProcessEngineOptions:
    """Where the engine and its node keep things, and how patient it is."""

    node: str
    folder: Path
    data: Path
    cache: Path
    builder_command: Sequence[str]
    grace_seconds: float = 5
    access: Access = field(default_factory=Access)
    """How registries are reached that images come from."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """What the builder may see (it installs with the user's settings of uv), and actors a little of."""


class ProcessEngine:
    """`Engine` on this machine, without containers."""

    def __init__(self, options: ProcessEngineOptions) -> None:
        """Nothing is touched before the first call.

        :raises FlopsError: FLOPS-D005 when this machine runs no Linux images
        """
        this_platform()
        self._options = options
        self._folder = EngineFolder(options.folder.absolute())
        self._images = ImageStore(self._folder, options.access)
        self._data = DataFolder(options.data.absolute(), self._folder.data_book)
        self._interpreters: dict[str, Path] | None = None
        self._discovering = anyio.Lock()
        self._scanning = anyio.Lock()
        self._node: NodeStatus | None = None
        self._locks: dict[tuple[str, str], anyio.Lock] = {}
        self._changed = Hints[str]()
        self._started = Hints[ActorFolder]()

    @property
    def name(self) -> str:
        """See `Engine.name`."""
        return "process"

    async def nodes(self, *, fresh: bool = False) -> Sequence[NodeStatus]:
        """See `Engine.nodes`."""
        async with self._scanning:
            if self._node is None or fresh:
                pythons = await self._pythons()
                actors = await self.list()
                tags = await self._data.scan()
                self._node = await anyio.to_thread.run_sync(self._look_at_node, list(pythons), tags, len(actors))
            return [self._node]

    async def deploy(self, actor: ActorSpec) -> None:
        """See `Engine.deploy`."""
        folder = self._folder.actor(actor.project, actor.instance)
        async with self._lock(actor.project, actor.instance):
            there = await anyio.to_thread.run_sync(look, folder)
            if there is not None and there.incarnation >= actor.incarnation:
                return
            command, environment, cwd = await self._command(actor, folder)
            if there is not None and not await end(folder, self._options.grace_seconds):
                raise FlopsError("FLOPS-D004", f"{actor.instance}: its life before cannot be ended")
            record = Record(
                project=actor.project,
                role=actor.role.value,
                instance=actor.instance,
                node=actor.node,
                incarnation=actor.incarnation,
                boot=boot_id(),
                started_at=datetime.now(UTC).isoformat(),
            )
            await launch(folder, record, command, environment, cwd)
            self._started.add(folder)

    async def remove(self, project: str, instance: str, *, keep_state: bool = False) -> None:
        """See `Engine.remove`."""
        folder = self._folder.actor(project, instance)
        async with self._lock(project, instance):
            if not await anyio.to_thread.run_sync(folder.root.exists):
                return
            if not await end(folder, self._options.grace_seconds):
                raise FlopsError("FLOPS-D004", f"{instance} cannot be ended: its processes do not react to SIGKILL")
            kept = self._folder.logs / project / f"{instance}.log"
            await anyio.to_thread.run_sync(_clear_away, folder, kept, keep_state)
        self._locks.pop((project, instance), None)

    async def list(self, project: str | None = None) -> Sequence[EngineActor]:
        """See `Engine.list`."""
        return await anyio.to_thread.run_sync(self._list, project)

    async def logs(self, project: str, instance: str, lines: int = 50) -> Sequence[str]:
        """See `Engine.logs`."""
        folder = self._folder.actor(project, instance)
        paths = (folder.log, self._folder.logs / project / f"{instance}.log")
        return await anyio.to_thread.run_sync(_tail, paths, lines)

    async def changes(self) -> AsyncIterator[str]:
        """See `Engine.changes`."""
        async for project in self._changed:
            yield project

    async def run(self) -> None:
        """Watches the actors, those of an earlier manager, too, so that the end of one is noticed when it happens."""
        await anyio.to_thread.run_sync(self._tidy)
        for actor in await self.list():
            self._started.add(self._folder.actor(actor.project, actor.instance))
        async with anyio.create_task_group() as group:
            async for folder in self._started:
                group.start_soon(self._wait_for_end, folder)

    def _lock(self, project: str, instance: str) -> anyio.Lock:
        return self._locks.setdefault((project, instance), anyio.Lock())

    async def _wait_for_end(self, folder: ActorFolder) -> None:
        await wait_for_end(folder)
        actor = await anyio.to_thread.run_sync(look, folder)
        if actor is not None and actor.presence is Presence.EXITED:
            # Before its group's number can become another's.
            await kill_leftovers(folder)
            self._changed.add(actor.project)

    async def _pythons(self) -> dict[str, Path]:
        async with self._discovering:
            if self._interpreters is None:
                self._interpreters = await discover()
            return self._interpreters

    async def _command(self, actor: ActorSpec, folder: ActorFolder) -> tuple[Sequence[str], Mapping[str, str], Path]:
        """What is run, with which environment, and where."""
        own = {"FLOPS_STATE_DIR": str(folder.state), "FLOPS_NODE": actor.node} | actor.environment
        if actor.image is None:
            inherited = {name: value for name, value in self._options.environment.items() if name != "FLOPS_CRASH_AT"}
            cache = self._options.cache.absolute()
            environment = inherited | {"FLOPS_CACHE_DIR": str(cache)} | own
            return list(self._options.builder_command), environment, folder.state
        runnable = await self._images.prepare(actor.image, this_platform())
        pythons = await self._pythons()
        python = pythons.get(actor.python or next(iter(pythons), ""))
        if python is None:
            raise FlopsError("FLOPS-D004", f"{actor.node} has no Python {actor.python}, but {', '.join(pythons)}")
        environment = {name: self._options.environment[name] for name in _SHARED if name in self._options.environment}
        if actor.role is Role.AGGREGATOR:
            # How it gets into MLflow; nobody else talks to MLflow.
            environment |= {k: v for k, v in self._options.environment.items() if k.startswith("MLFLOW_")}
        if actor.role is Role.LEARNER:
            own["FLOPS_DATA_DIR"] = str(self._options.data.absolute())
        environment |= runnable.environment | {"HOME": str(folder.state), "FLOPS_IMAGE_ROOT": str(runnable.root)} | own
        return [str(python), *runnable.command], environment, runnable.folder or folder.state

    def _look_at_node(self, pythons: Sequence[str], tags: Sequence[DataTag], actors: int) -> NodeStatus:
        self._folder.root.mkdir(parents=True, exist_ok=True)
        return describe(self._options.node, pythons, tags, self._folder.root, actors)

    def _list(self, project: str | None) -> Sequence[EngineActor]:
        pattern = "*/*" if project is None else f"{project}/*"
        found = (look(ActorFolder(path)) for path in sorted(self._folder.actors.glob(pattern)))
        return [actor for actor in found if actor is not None]

    def _tidy(self) -> None:
        """Takes away what a killed manager left half made, and what nobody will ask for any more."""
        for path in self._folder.half_made.glob("*"):
            if path != self._folder.new:
                shutil.rmtree(path, ignore_errors=True)
        oldest = time.time() - LOG_DAYS * 86_400
        for path in self._folder.logs.glob("*/*.log"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
        if not any(actor.presence is Presence.RUNNING for actor in self._list(None)):
            prune(self._folder, IMAGE_DAYS * 86_400)


def _clear_away(folder: ActorFolder, kept_log: Path, keep_state: bool) -> None:
    if folder.log.exists():
        kept_log.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder.log, kept_log)
    # The record goes first: without it, the rest is nothing.
    for path in (folder.record, folder.group, folder.pid, folder.exit, folder.log, folder.earlier_log, folder.lock):
        path.unlink(missing_ok=True)
    if keep_state:
        return
    shutil.rmtree(folder.root, ignore_errors=True)
    try:
        folder.root.parent.rmdir()
    except OSError:
        return  # Others of the project are there.


def _tail(paths: Sequence[Path], lines: int) -> Sequence[str]:
    for path in paths:
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            continue
        return [line[:2000] for line in text.splitlines()[-lines:]]
    return []
