"""Watches a project to its end, on a terminal, in a file, or for a machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, field

from anyio import fail_after
from flops_protocol.bus import Bus
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import BuildProgress, RoundReport
from flops_protocol.messages.observer import Summary, TimelineEntry
from flops_protocol.messages.project import ProjectStage, ProjectStatus
from rich.live import Live

from flops_cli import exits
from flops_cli.exits import ExitCode
from flops_cli.output import Output, error_text
from flops_cli.watching.feed import Item, follow
from flops_cli.watching.screen import Screen, line


@dataclass
class End:
    """How a project ended, and what was seen of it."""

    status: ProjectStatus
    summary: Summary | None = None
    rounds: dict[int, RoundReport] = field(default_factory=dict)

    @property
    def exit_code(self) -> ExitCode:
        """What this end means to a script."""
        return exits.of_stage(self.status.stage)


async def watch_project(
    bus: Bus, project: str, output: Output, *, since: int = 0, quiet: bool = False, timeout: float | None = None
) -> End:
    """Shows a project until it ends after the sequence `since`. `quiet` shows nothing; with JSON output every item is
    a line.

    :raises FlopsError: FLOPS-P008 when `timeout` seconds are over before
    """
    try:
        with fail_after(timeout):
            async with follow(bus, project, since=since) as items:
                end = await _show(items, project, output, quiet=quiet, since=since)
    except TimeoutError:
        raise FlopsError("FLOPS-P008", f"{project} has not ended within {timeout:g} s; it goes on") from None
    if not quiet and not output.json:
        _say_end(end, output)
    return end


async def _show(items: AsyncIterator[Item], project: str, output: Output, *, quiet: bool, since: int) -> End:
    summary: Summary | None = None
    rounds: dict[int, RoundReport] = {}
    screen = Screen(project)
    show = not quiet and not output.json
    # Bars need a terminal that can go back; a file or a pipe gets the lines.
    live = Live(screen, console=output.console, refresh_per_second=8, transient=True)
    phase: object = None
    with live if show and output.console.is_terminal else nullcontext():
        async for item in items:
            if output.json and not quiet:
                output.document({_kind(item): item})
            match item:
                case TimelineEntry() if show:
                    output.console.print(line(item))
                case Summary():
                    summary = item
                    screen.show_summary(item)
                case RoundReport():
                    rounds[item.round] = item
                    screen.show_round(item)
                case BuildProgress():
                    screen.show_progress(item)
                    if show and not output.console.is_terminal and item.phase != phase:
                        output.console.print(f"         3 building: {item.phase} ({item.percent:.0f} %)")
                    phase = item.phase
                case ProjectStatus() if item.stage.ended and item.sequence > since:
                    return End(item, summary, rounds)
                case _:
                    pass
    raise FlopsError("FLOPS-P010", f"{project} was not followed to its end")


def _kind(item: Item) -> str:
    names = {
        TimelineEntry: "timeline",
        Summary: "summary",
        BuildProgress: "progress",
        RoundReport: "round",
        ProjectStatus: "status",
    }
    return names[type(item)]


def _say_end(end: End, output: Output) -> None:
    status = end.status
    seconds = (status.stage_since - status.submitted_at).total_seconds()
    if status.error is not None and status.stage is ProjectStage.FAILED:
        output.errors.print(error_text(status.error))
    elif status.stage is ProjectStage.COMPLETED:
        best = "" if status.training is None else f": best accuracy {status.training.best.accuracy:.4f}"
        output.console.print(f"[green]{status.project} is completed[/] after {seconds:.1f} s{best}")
        for name, link in ({} if end.summary is None else end.summary.links).items():
            output.console.print(f"  [dim]{name}[/] {link}")
    else:
        output.console.print(f"[yellow]{status.project} was {status.stage}[/] after {seconds:.1f} s")
