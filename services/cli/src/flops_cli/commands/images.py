"""`flops images`: what the registry holds of this mesh's images, and tidying it up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from flops_protocol.channels import LIST, SHOW
from flops_protocol.messages.requests import ListRequest, ShowRequest
from flops_registry.housekeeping.interface import Removed, StoredImage

from flops_cli import options, tables
from flops_cli.mesh.state import StateFolder
from flops_cli.output import Output
from flops_cli.session import ask, session

app = typer.Typer(invoke_without_command=True, help="The images of the registry: list them, remove old ones.")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")
Projects = Mapping[str, Sequence[tuple[str, bool]]]
"""Projects by image key, each with whether it goes on."""


def duration(text: str) -> timedelta:
    """`30d`, `12h`, `90m`, `2w`.

    :raises ValueError: when it is something else
    """
    found = DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text} is no duration: a number and s, m, h, d or w, as in 30d")
    return timedelta(**{UNITS[found.group(2)]: float(found.group(1))})


@app.callback()
def images(
    context: typer.Context,
    *,
    registry: options.Registry = None,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """List the images of the registry, those that were used last first."""
    if context.invoked_subcommand is not None:
        return
    output = Output(json=json)

    async def run() -> None:
        found, projects = await _look(registry, broker, state)
        if json:
            output.document([_document(image, projects) for image in found])
        else:
            tables.images(output, found, {key: [name for name, _ in them] for key, them in projects.items()})

    anyio.run(run)


@app.command()
def prune(
    *,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Only what was not used for so long: 30d, 12h.")
    ] = "30d",
    keep: Annotated[int, typer.Option("--keep", min=0, help="So many of each repository stay.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    registry: options.Registry = None,
    broker: options.Broker = None,
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Remove images that were not used for long, and every blob that nothing needs any more."""
    from flops_registry.housekeeping.choice import stale

    try:
        age = duration(older_than)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from error
    output = Output(json=json)

    async def run() -> None:
        found, projects = await _look(registry, broker, state)
        needed = {key for key, them in projects.items() if any(goes_on for _, goes_on in them)}
        chosen = stale(found, datetime.now(UTC), age, keep, needed)
        removed = Removed(tuple(chosen), None) if dry_run else await _remove(registry, state, chosen)
        if json:
            done = [_document(image, projects) for image in removed.images]
            output.document({"removed": done, "bytes": removed.bytes, "dry_run": dry_run})
        else:
            tables.pruned(output, removed, dry_run=dry_run)

    anyio.run(run)


async def _look(
    registry: str | None, broker: str | None, state: Path
) -> tuple[Sequence[StoredImage], dict[str, list[tuple[str, bool]]]]:
    """The images, and who uses them. The projects come first: one that begins in between has noted its use by then."""
    from flops_registry.housekeeping.opening import open_keeper

    home = StateFolder(state)
    projects = await _projects(broker, state) if broker is not None or home.held else {}
    async with open_keeper(options.registry_of(registry, home), options.access(), options.uses(home)) as keeper:
        return await keeper.images(), projects


async def _remove(registry: str | None, state: Path, chosen: Sequence[StoredImage]) -> Removed:
    from flops_registry.housekeeping.opening import open_keeper

    home = StateFolder(state)
    async with open_keeper(options.registry_of(registry, home), options.access(), options.uses(home)) as keeper:
        return await keeper.remove(chosen)


async def _projects(broker: str | None, state: Path) -> dict[str, list[tuple[str, bool]]]:
    """The projects of a mesh that runs, by the key of their images.

    :raises FlopsError: when it does not answer; then nobody knows what is needed
    """
    found: dict[str, list[tuple[str, bool]]] = {}
    async with session(broker, state) as bus:
        listed = await ask(bus, LIST, ListRequest(limit=200))
        for item in listed.projects or []:
            status = (await ask(bus, SHOW, ShowRequest(project=item.project))).status
            if status is not None and status.images is not None:
                found.setdefault(status.images.image_key, []).append((item.project, not status.stage.ended))
    return found


def _document(image: StoredImage, projects: Projects) -> dict[str, Any]:
    return {
        "repository": image.slug,
        "source": image.source,
        "commit": image.commit,
        "image_key": image.image_key,
        "source_key": image.source_key,
        "platforms": list(image.platforms),
        "bytes": image.bytes,
        "last_used": image.last_used,
        "projects": [name for name, _ in projects.get(image.image_key, [])],
    }
