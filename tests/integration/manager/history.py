"""What a project's history says."""

from __future__ import annotations

from flops_protocol.messages.project import EventName, ProjectEvent, ProjectStatus

from tests.integration.manager.harness import Mesh


def names(events: list[ProjectEvent], *, without: tuple[str, ...] = ()) -> list[str]:
    return [event.name.value for event in events if event.name.value not in without]


def code(status: ProjectStatus) -> str:
    assert status.error is not None, status
    return status.error.code.removeprefix("FLOPS-")


async def lost(mesh: Mesh, project: str) -> list[str]:
    history = await mesh.history(project)
    return [str(event.instance) for event in history if event.name is EventName.ACTOR_LOST]


async def check_end(mesh: Mesh, project: str, status: ProjectStatus) -> None:
    """What holds at every end: one end, nothing runs, no gap in the history."""
    await mesh.until(lambda: project in mesh.ends)
    assert [end.stage for end in mesh.ends[project]][-1] == status.stage
    assert status.actors == []
    assert not [line for line in mesh.processes() if project in line]
    history = await mesh.history(project)
    assert [event.sequence for event in history] == list(range(1, status.sequence + 1))
    assert mesh.events[project] == history
