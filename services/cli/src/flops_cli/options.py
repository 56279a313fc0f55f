"""Options that many commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from flops_registry.address import check

if TYPE_CHECKING:
    from flops_registry.opening import Access
    from flops_registry.uses import UseBook

    from flops_cli.mesh.state import StateFolder


def _registry(value: str | None) -> str | None:
    try:
        return value and check(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        envvar="FLOPS_BROKER",
        metavar="URL",
        help="Where the broker is, mqtt://host:port; else the mesh of the state folder.",
    ),
]
Registry = Annotated[
    str | None,
    typer.Option(
        "--registry",
        envvar="FLOPS_REGISTRY",
        metavar="REGISTRY",
        callback=_registry,
        help="Where images are: oci:/absolute/path or http(s)://host[:port][/namespace]; else the state folder's own.",
    ),
]
Compression = Annotated[
    Literal["gzip", "zstd"],
    typer.Option(
        "--compression",
        envvar="FLOPS_REGISTRY_COMPRESSION",
        help="For a registry over HTTP; zstd where it and the engines take it.",
    ),
]
State = Annotated[
    Path,
    typer.Option("--state", envvar="FLOPS_HOME", file_okay=False, help="The state folder of a mesh on this machine."),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for machines, and nothing else, on standard output.")]
Project = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's ID, or the start of it.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the mesh's answer.")]

STATE = Path(".flops")


def registry_of(chosen: str | None, home: StateFolder) -> str:
    """The registry that is meant: the one that was named, that of the mesh of the state folder, or the folder's own."""
    mesh = home.mesh()
    return chosen or (mesh.registry if mesh is not None else None) or f"oci:{home.registry}"


def uses(home: StateFolder) -> UseBook:
    """When images of a server were used: where manager and builder note it."""
    from flops_registry.uses import UseBook

    return UseBook(home.cache / "images")


def access() -> Access:
    """How a registry is reached: by the same variables as those of the services."""
    from flops_registry.opening import Access

    credentials, authority = os.environ.get("FLOPS_REGISTRY_CREDENTIALS"), os.environ.get("FLOPS_REGISTRY_CA")
    return Access(Path(credentials) if credentials else None, Path(authority) if authority else None)
