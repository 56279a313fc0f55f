"""The manager is killed at every named point, at its 1st and its 2nd hit: no project is any different for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest
from flops_protocol.channels import CANCEL, LIST, RETRY, SUBMIT
from flops_protocol.messages.project import EventName, ProjectEvent
from flops_protocol.messages.requests import CancelRequest, ListRequest, Reply, RetryRequest, SubmitRequest

from tests.integration.manager.harness import ManagerProcess, Mesh

ERROR = {"code": "FLOPS-B012", "title": "The code does not offer what is required", "detail": "x", "hint": "y"}
ACTOR_EVENTS = {EventName.ACTOR_PLACED, EventName.ACTOR_READY, EventName.ACTOR_LOST, EventName.ACTOR_REMOVED}
LIMIT = 600
"""Seconds that a request may wait for its answer, and a project for its end: through as many crashes as come."""
CRASH_SECONDS = 60
"""How long a manager may live until it gets to where it is to crash."""

NORMAL = (
    *("submit.before-commit", "submit.after-commit", "submit.before-reply"),
    *("report.before-commit", "report.after-commit", "fact.before-commit", "fact.after-commit"),
    *("resolve.before-commit", "resolve.after-commit", "lookup.before-commit", "lookup.after-commit"),
    *("progress.before-commit", "progress.after-commit", "removed.before-commit", "removed.after-commit"),
    *("deploy.before", "deploy.before-start", "deploy.after-start", "deploy.after", "remove.before", "remove.after"),
    *("command.before", "command.after", "outbox.before-send", "outbox.after-send"),
)
CANCELLED = ("cancel.before-commit", "cancel.after-commit", "cancel.before-reply")
RETRIED = (
    *("fail.before-commit", "fail.after-commit"),
    *("retry.before-commit", "retry.after-commit", "retry.before-reply"),
)


class Drivers:
    """Projects of three kinds, driven by a client that knows nothing of crashes."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.kinds: dict[str, str] = {}
        self.tokens = 0

    async def ask(self, channel: object, message: object) -> Reply:
        reply = await self.mesh.bus.request(channel, message, timeout=LIMIT)  # type: ignore[arg-type, type-var]
        assert reply.error is None, reply
        return reply

    async def submit(self, kind: str, sla: str) -> str:
        self.tokens += 1
        request = SubmitRequest(sla=sla, token=f"token-{self.tokens}")
        replies: list[Reply] = []

        async def once() -> None:
            replies.append(await self.ask(SUBMIT, request))

        # Twice, as by a client that is in doubt.
        async with anyio.create_task_group() as group:
            group.start_soon(once)
            group.start_soon(once)
        first, second = replies
        assert first.project is not None
        assert first.project == second.project
        self.kinds[first.project] = kind
        return first.project

    async def normal(self) -> None:
        project = await self.submit("normal", self.mesh.sla())
        assert (await self.mesh.end(project, LIMIT)).stage == "completed"

    async def cancelled(self) -> None:
        sla = self.mesh.sla(ml_repo_url=self.mesh.new_repository(), script={"builder": {"hang": True}})
        project = await self.submit("cancelled", sla)
        await self.happened(project, EventName.ACTOR_READY)
        await self.ask(CANCEL, CancelRequest(project=project))
        assert (await self.mesh.end(project, LIMIT)).stage == "cancelled"

    async def retried(self) -> None:
        script = {"builder": {"fail": ERROR, "only": ["builder"]}}
        sla = self.mesh.sla(ml_repo_url=self.mesh.new_repository(), script=script)
        project = await self.submit("retried", sla)
        assert (await self.mesh.stage(project, "failed", seconds=LIMIT)).error is not None
        await self.ask(RETRY, RetryRequest(project=project))
        await self.mesh.stage(project, "completed", seconds=LIMIT)

    async def happened(self, project: str, name: EventName) -> None:
        await self.mesh.until(lambda: name in [e.name for e in self.mesh.events.get(project, [])], LIMIT)


def story(history: list[ProjectEvent]) -> tuple[list[tuple[str, ...]], Counter[tuple[str, ...]]]:
    """A history without times and IDs.

    What actors do at the same time has no order among them, nor to what happens beside; so they are counted.
    """
    main = [
        (event.name.value, event.stage.value, str(event.attempt), event.error.code if event.error else "")
        for event in history
        if event.name not in ACTOR_EVENTS
    ]
    actors = Counter(
        (event.name.value, str(event.attempt), str(event.instance)) for event in history if event.name in ACTOR_EVENTS
    )
    return main, actors


@pytest.mark.timeout(900)
async def test_a_crash_anywhere_changes_no_project(mesh: Mesh) -> None:
    if mesh.broker.kind != "mosquitto":
        pytest.skip("the embedded broker keeps nothing for a client that is away, and stalls under many killed ones")
    drivers = Drivers(mesh)
    # Dozens of projects live at once, and every manager only for a second or two: nobody is silent only because it is
    # not his turn yet.
    manager = mesh.manager_process(FLOPS_START_SECONDS="120", FLOPS_LOST_SECONDS="60", FLOPS_RECONCILE_SECONDS="10")
    try:
        # As it is when nothing happens. It also has the images built that normal projects find.
        await manager.start()
        await manager.ready()
        await drivers.normal()
        for drive in (drivers.normal, drivers.cancelled, drivers.retried):
            await drive()
        await manager.kill()
        expected = await crash_everywhere(drivers, manager)
        await check(mesh, drivers, expected)
    finally:
        with anyio.CancelScope(shield=True):
            await manager.kill()


async def crash_everywhere(drivers: Drivers, manager: ManagerProcess) -> int:
    """Goes on from crash to crash; projects that one has interrupted may be interrupted again by the next."""
    cells: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        (f"{point}:{hit}", drive)
        for points, drive in ((NORMAL, drivers.normal), (CANCELLED, drivers.cancelled), (RETRIED, drivers.retried))
        for point in points
        for hit in (1, 2)
    ]
    async with anyio.create_task_group() as group:
        for cell, drive in cells:
            await manager.start(FLOPS_CRASH_AT=cell)
            # The first request of all goes to a manager that is known to the broker already.
            for _ in range(needed(cell)):
                group.start_soon(drive)
            try:
                assert await manager.wait(CRASH_SECONDS) == 137, cell
            except TimeoutError:
                raise AssertionError(f"{cell} was not reached: {manager.log.read_text()[-2000:]}") from None
        await manager.start()
    return len(cells)


def needed(cell: str) -> int:
    """How many projects it takes until a point is hit so often."""
    point, _, hit = cell.partition(":")
    once = point.startswith(("submit", "resolve", "lookup", "cancel", "fail", "retry"))
    # A submission is sent twice, but taken in once.
    return int(hit) if once else math.ceil(int(hit) / 2)


async def check(mesh: Mesh, drivers: Drivers, cells: int) -> None:
    reply = await drivers.ask(LIST, ListRequest(limit=200))
    assert reply.projects is not None
    # Nothing lost, nothing done twice: as many projects as tokens, each known to its client.
    assert {project.project for project in reply.projects} == set(drivers.kinds)
    assert len(drivers.kinds) == drivers.tokens >= cells
    stories: dict[str, tuple[list[tuple[str, ...]], Counter[tuple[str, ...]]]] = {}
    for project, kind in drivers.kinds.items():
        history = await mesh.history(project)
        assert [event.sequence for event in history] == list(range(1, len(history) + 1)), project
        told = {event.sequence: event for event in mesh.events[project]}
        assert [told[sequence] for sequence in sorted(told)] == history, f"{project} was told otherwise than it was"
        if project == next(iter(drivers.kinds)):
            continue  # The one whose images were built.
        expected = stories.setdefault(kind, story(history))
        assert story(history) == expected, f"{project} ({kind})"
    lives = Counter((mesh.root / "engine/lives").read_text().splitlines())
    assert [actor for actor, count in lives.items() if count > 1] == []
    await mesh.gone()
    assert not list(records(mesh.root))


def records(root: Path) -> Iterator[Path]:
    """What the engine has written down of actors."""
    yield from (root / "engine/actors").glob("*/*/record.json")
