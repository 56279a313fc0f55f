"""Publishes what is due: timeline lines in their order, and the newest summary."""

from __future__ import annotations

import structlog
from anyio import sleep
from flops_protocol.bus import Bus
from flops_protocol.channels import SUMMARY, TIMELINE
from flops_protocol.errors import FlopsError
from flops_protocol.messages.observer import Summary

from flops_observer.desk import Desk
from flops_observer.summary import summarise
from flops_observer.timeline import entry

PAGE = 200
AT_MOST_EVERY = 0.1
"""Seconds between two summaries of a project: progress arrives far more often than anyone can read it."""
PAUSE_AFTER_FAILURE = 1.0

log = structlog.get_logger()


async def tell(desk: Desk, bus: Bus) -> None:
    """Publishes whatever is new, for ever. A line may be published twice after a crash; its position says so."""
    last: dict[str, Summary] = {}
    while True:
        for project in sorted(await desk.untold.take()):
            try:
                await _tell_lines(desk, bus, project)
                summary = summarise(await desk.view(project))
                if summary is not None and summary != last.get(project):
                    await bus.publish(SUMMARY, summary, project=project)
                    last[project] = summary
            except FlopsError as error:
                log.warning("not told", project=project, error=str(error))
                desk.untold.raise_for(project)
                await sleep(PAUSE_AFTER_FAILURE)
        await sleep(AT_MOST_EVERY)


async def _tell_lines(desk: Desk, bus: Bus, project: str) -> None:
    told = await desk.told(project)
    while events := await desk.events(project, after=told, limit=PAGE):
        for event in events:
            await bus.publish(TIMELINE, entry(event), project=project)
        told = events[-1].sequence
        await desk.tell(project, told)
