"""Asks the manager for what is missing in a project's history, until nothing is missing."""

from __future__ import annotations

import structlog
from anyio import sleep
from flops_protocol.bus import Bus
from flops_protocol.channels import REPLAY
from flops_protocol.errors import FlopsError
from flops_protocol.messages.requests import ReplayRequest

from flops_observer.desk import Desk

PAGE = 100
SETTLE = 0.05
"""Seconds to wait before asking: an event that is merely late closes the gap by itself."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0

log = structlog.get_logger()


async def catch_up(desk: Desk, bus: Bus) -> None:
    """Refills gaps, for ever. A manager that does not answer is asked again, ever more rarely."""
    pause = FIRST_PAUSE
    while True:
        projects = await desk.incomplete.take()
        await sleep(SETTLE)
        failed = False
        for project in sorted(projects):
            try:
                await _refill(desk, bus, project)
            except FlopsError as error:
                log.warning("history is incomplete", project=project, error=str(error))
                desk.incomplete.raise_for(project)
                failed = True
        if failed:
            await sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
        else:
            pause = FIRST_PAUSE


async def _refill(desk: Desk, bus: Bus, project: str) -> None:
    """Pages through what follows the complete part of a history.

    :raises FlopsError: when the manager does not answer, or does not know the project
    """
    while (view := await desk.view(project)).has_gap:
        reply = await bus.request(REPLAY, ReplayRequest(project=project, after=view.applied, limit=PAGE))
        if reply.error is not None:
            raise FlopsError.from_body(reply.error)
        if not reply.events:
            return
        await desk.take_events(project, reply.events)
        if (await desk.view(project)).applied == view.applied:
            return
