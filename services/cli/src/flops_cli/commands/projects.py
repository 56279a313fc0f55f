"""Commands about projects: submit, plan, list, show, cancel, retry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import anyio
import typer
from flops_protocol.channels import CANCEL, LIST, PLAN, RETRY, SHOW, SUBMIT
from flops_protocol.messages.project import ProjectStage
from flops_protocol.messages.requests import (
    CancelRequest,
    ListRequest,
    PlanRequest,
    RetryRequest,
    ShowRequest,
    SubmitRequest,
)

from flops_cli import options, plans, tables
from flops_cli.exits import ExitCode
from flops_cli.output import Output
from flops_cli.session import ask, full_id, session, until_managed
from flops_cli.watching.watch import watch_project

SUBMIT_SECONDS = 60.0
PLAN_SECONDS = 180.0
"""A plan waits for a builder, and that for the repository's host and the package index."""

SlaFile = Annotated[
    str, typer.Argument(metavar="FILE", help="The project SLA, a JSON document; - reads it from standard input.")
]

Wait = Annotated[bool, typer.Option("--wait", help="Watch the project until it ends; the exit code tells how.")]


def submit(
    file: SlaFile,
    *,
    wait: Wait = False,
    token: Annotated[
        str | None, typer.Option("--token", help="The same token with the same SLA gives the same project.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, help="With --wait: seconds to wait for the end.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Start nothing: as `flops plan`.")] = False,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Start a project."""
    if dry_run:
        plan(file, broker=broker, state=state, json=json)
    output = Output(json=json)
    text = read_sla(file)

    async def run() -> ExitCode:
        async with session(broker, state) as bus:
            await until_managed(bus)
            reply = await ask(bus, SUBMIT, SubmitRequest(sla=text, token=token), timeout=SUBMIT_SECONDS)
            project = reply.project or ""
            report = {"project": project, "created": reply.created, "notices": reply.notices}
            if not wait:
                if json:
                    output.document(report)
                else:
                    tables.submitted(output, reply)
                return ExitCode.OK
            if not json:
                tables.submitted(output, reply)
            end = await watch_project(bus, project, output, quiet=json, timeout=timeout)
            if json:
                output.document(report | {"status": end.status, "summary": end.summary})
            return end.exit_code

    raise typer.Exit(anyio.run(run))


def plan(
    file: SlaFile,
    *,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Say what a submit would do, down to every change to the packages; nothing is kept."""
    output = Output(json=json)
    text = read_sla(file)

    async def run() -> ExitCode:
        async with session(broker, state) as bus:
            await until_managed(bus)
            report = (await ask(bus, PLAN, PlanRequest(sla=text), timeout=PLAN_SECONDS)).plan
        if report is None:
            raise TypeError("the manager answered a plan without a plan")
        if json:
            output.document(report)
        else:
            plans.plan(output, report)
        return ExitCode.FAILED if report.errors else ExitCode.OK

    raise typer.Exit(anyio.run(run))


def list_projects(
    *,
    stage: Annotated[
        list[ProjectStage] | None, typer.Option("--stage", help="Only projects in this stage; may be given again.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200)] = 50,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """List projects, newest first."""
    output = Output(json=json)

    async def run() -> None:
        async with session(broker, state) as bus:
            reply = await ask(bus, LIST, ListRequest(stages=stage or [], limit=limit))
        if json:
            output.document(reply.projects or [])
        else:
            tables.projects(output, reply.projects or [])

    anyio.run(run)


def show(
    project: options.Project,
    *,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Show all that is known about a project."""
    output = Output(json=json)

    async def run() -> None:
        async with session(broker, state) as bus:
            reply = await ask(bus, SHOW, ShowRequest(project=await full_id(bus, project)))
        if json:
            output.document({"spec": reply.spec, "status": reply.status})
        elif reply.status is not None:
            tables.project(output, reply.status, reply.spec)

    anyio.run(run)


def cancel(
    project: options.Project,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the project's history.")] = "",
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Stop a project and remove what runs for it."""
    output = Output(json=json)

    async def run() -> None:
        async with session(broker, state) as bus:
            name = await full_id(bus, project)
            reply = await ask(bus, CANCEL, CancelRequest(project=name, reason=reason))
        if json:
            output.document({"project": name, "status": reply.status})
        else:
            output.console.print(f"{name} is being cancelled.")

    anyio.run(run)


def retry(
    project: options.Project,
    *,
    wait: Wait = False,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Start a failed or cancelled project again, with the same commit."""
    output = Output(json=json)

    async def run() -> ExitCode:
        async with session(broker, state) as bus:
            name = await full_id(bus, project)
            reply = await ask(bus, RETRY, RetryRequest(project=name))
            if not json:
                output.console.print(f"{name} starts again.")
            if not wait:
                if json:
                    output.document({"project": name, "status": reply.status})
                return ExitCode.OK
            since = 0 if reply.status is None else reply.status.sequence
            end = await watch_project(bus, name, output, since=since, quiet=json)
            if json:
                output.document({"project": name, "status": end.status, "summary": end.summary})
            return end.exit_code

    raise typer.Exit(anyio.run(run))


def read_sla(file: str) -> str:
    """The text of an SLA file; `-` is standard input.

    :raises typer.BadParameter: when it cannot be read
    """
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint="FILE") from error
