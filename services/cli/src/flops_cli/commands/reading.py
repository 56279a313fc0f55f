"""Commands that read: watch, history, logs, nodes."""

from __future__ import annotations

from typing import Annotated

import anyio
import typer
from flops_protocol.bus import Received
from flops_protocol.channels import HISTORY, LOGS, NODE_STATUS
from flops_protocol.messages.actors import LogLines
from flops_protocol.messages.mesh import NodeStatus
from flops_protocol.messages.observer import TimelineEntry
from flops_protocol.messages.project import Role
from flops_protocol.messages.requests import HistoryRequest, LogsRequest
from rich.markup import escape

from flops_cli import options, tables
from flops_cli.exits import ExitCode
from flops_cli.output import Output
from flops_cli.session import ask, full_id, session
from flops_cli.watching.screen import line
from flops_cli.watching.watch import watch_project

QUIET_SECONDS = 0.3
"""Retained state follows a subscription at once: when nothing came for so long, it has all been said."""


def watch(
    project: options.Project,
    *,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, help="Seconds to watch at most; then the exit code is 4.")
    ] = None,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Show a project's stages, progress and rounds until it ends; the exit code tells how. With --json, JSON lines."""
    output = Output(json=json)

    async def run() -> ExitCode:
        async with session(broker, state) as bus:
            end = await watch_project(bus, await full_id(bus, project), output, timeout=timeout)
            return end.exit_code

    raise typer.Exit(anyio.run(run))


def history(
    project: options.Project,
    *,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Show a project's timeline from its first line."""
    output = Output(json=json)

    async def run() -> list[TimelineEntry]:
        lines: list[TimelineEntry] = []
        async with session(broker, state) as bus:
            name = await full_id(bus, project)
            after: int | None = 0
            while after is not None:
                reply = await ask(bus, HISTORY, HistoryRequest(project=name, after=after))
                lines += reply.timeline or []
                after = reply.next
        return lines

    lines = anyio.run(run)
    if json:
        output.document(lines)
    else:
        for entry in lines:
            output.console.print(line(entry))


def logs(
    project: options.Project,
    *,
    role: Annotated[
        Role | None, typer.Option("--role", help="Only of the builder, the aggregator, or learners.")
    ] = None,
    instance: Annotated[str | None, typer.Option("--instance", help="Only of one actor.")] = None,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Show what a project's processes wrote."""
    output = Output(json=json)

    async def run() -> list[LogLines]:
        found: list[LogLines] = []
        async with session(broker, state) as bus:
            name = await full_id(bus, project)
            after: int | None = 0
            while after is not None:
                request = LogsRequest(project=name, role=role, instance=instance, after=after)
                reply = await ask(bus, LOGS, request)
                found += reply.logs or []
                after = reply.next
        return found

    found = anyio.run(run)
    if json:
        output.document(found)
    else:
        for entry in found:
            for text in entry.lines:
                output.console.print(f"[dim]{entry.at:%H:%M:%S} {entry.instance}[/] {escape(text)}")


def nodes(
    *,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """List the nodes: what they can do, and which data they have."""
    output = Output(json=json)

    async def run() -> list[NodeStatus]:
        found: dict[str, NodeStatus] = {}
        heard = anyio.Event()

        async def on_node(received: Received[NodeStatus]) -> None:
            found[received.message.node] = received.message
            heard.set()

        async with session(broker, state) as bus:
            await bus.subscribe(NODE_STATUS, on_node)
            while True:
                with anyio.move_on_after(QUIET_SECONDS) as quiet:
                    await heard.wait()
                if quiet.cancelled_caught:
                    return [found[name] for name in sorted(found)]
                heard = anyio.Event()

    found = anyio.run(run)
    if json:
        output.document(found)
    else:
        tables.nodes(output, found)
