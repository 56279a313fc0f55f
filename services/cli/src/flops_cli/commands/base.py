"""`flops base`: a base image from Debian's packages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, cast

import anyio
import typer
from flops_protocol.sla import Platform
from rich.markup import escape

from flops_cli import options
from flops_cli.mesh.state import StateFolder
from flops_cli.output import Output

PLATFORMS = ("linux/amd64", "linux/arm64")


def base(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[IMAGE]",
            help="Where it goes: host[:port]/repository[:tag] or oci:/folder[:name]; else the state folder.",
        ),
    ] = None,
    *,
    platform: Annotated[list[str] | None, typer.Option("--platform", help="May be given twice; else both.")] = None,
    include: Annotated[list[str] | None, typer.Option("--include", help="One more Debian package.")] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--sources", exists=True, dir_okay=False, help="Package sources; else this machine's own."),
    ] = None,
    compression: options.Compression = "gzip",
    state: options.State = options.STATE,
    json: options.Json = False,
) -> None:
    """Make a base image with Python from Debian's packages, for both platforms, without any registry to pull from."""
    from flops_registry.reference import ImageName

    from flops_cli.base import debian
    from flops_cli.base.image import Wish, make

    output = Output(json=json)
    chosen = platform or list(PLATFORMS)
    if unknown := set(chosen) - set(PLATFORMS):
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(PLATFORMS)}", param_hint="--platform")
    try:
        name = ImageName.parse(target or f"oci:{StateFolder(state).root / 'base'}:base")
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    wish = Wish(
        platforms=[cast("Platform", each) for each in dict.fromkeys(chosen)],
        packages=[*debian.PACKAGES, *(include or [])],
        sources=sources or debian.sources(),
        epoch=epoch,
        compression=compression,
    )
    made = anyio.run(make, wish, name, options.access(), lambda line: output.errors.print(f"[dim]{escape(line)}[/]"))
    if json:
        output.document({"image": made.reference, "python": made.python, "bytes": made.bytes})
        return
    output.console.print(f"[bold]{escape(made.reference)}[/]  Python {made.python}, {made.bytes / 1e6:.0f} MB")
    output.console.print(f"Use it with: FLOPS_BASE_IMAGE={escape(made.reference)} flops up")
